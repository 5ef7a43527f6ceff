// What the pages of the browser SDKs share: the load is beside them, and so is where the report goes.

// Have `send` send the load, and report what the SDK said. What it prints as a warning or an error is an error, and so
// is an exception, wherever it is thrown.
export async function drive(send) {
  const load = await (await fetch("/load")).json();
  for (const event of load.events) event.moment = new Date(event.moment);
  const errors = [];
  for (const level of ["error", "warn"]) console[level] = (...said) => errors.push(`${level}: ${said.map(text).join(" ")}`);
  addEventListener("error", ({ message }) => errors.push(message));
  addEventListener("unhandledrejection", ({ reason }) => errors.push(text(reason)));
  const started = performance.now();
  try {
    await send(load, errors);
  } catch (error) {
    errors.push(text(error));
  }
  // The browser ends with the report, and what is on its way by then is lost.
  await answered(new Set(load.events.map((event) => event.event_id)).size);
  const seconds = (performance.now() - started) / 1000;
  await fetch("/report", { method: "POST", body: JSON.stringify({ sent: load.events.length, errors, seconds }) });
}

// Wait until so many different events were answered, or a few seconds.
export const answered = (events) => fetch(`/answered/${events}`);

export function text(value) {
  return value instanceof Error ? `${value.name}: ${value.message}` : typeof value === "string" ? value : JSON.stringify(value);
}
