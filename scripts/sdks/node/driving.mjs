// What the drivers of the node SDKs share: the load on standard input, the report on standard output.
import { readFileSync } from "node:fs";

// Have `send` send the load, and report what the SDK said. `errors` takes what the SDK tells its callbacks. What it
// prints as a warning or an error is an error, too, and so is an exception, wherever it is thrown.
export async function drive(send) {
  const load = JSON.parse(readFileSync(0, "utf8"));
  for (const event of load.events) event.moment = new Date(event.moment);
  const errors = [];
  for (const level of ["error", "warn"]) console[level] = (...said) => errors.push(`${level}: ${said.map(text).join(" ")}`);
  // An SDK may print what it is about. Standard output is for the report.
  for (const level of ["log", "info", "debug"]) console[level] = () => {};
  for (const kind of ["uncaughtException", "unhandledRejection"]) process.on(kind, (error) => errors.push(`${kind}: ${text(error)}`));
  const started = performance.now();
  try {
    await send(load, errors);
  } catch (error) {
    errors.push(text(error));
  }
  const seconds = (performance.now() - started) / 1000;
  process.stdout.write(JSON.stringify({ sent: load.events.length, errors, seconds }), () => process.exit(0));
}

// A promise of what a function with a callback for errors at its end does.
export function called(work) {
  return new Promise((resolve, reject) => work((error) => (error ? reject(error) : resolve())));
}

export function text(value) {
  return value instanceof Error ? `${value.name}: ${value.message}` : typeof value === "string" ? value : JSON.stringify(value);
}
