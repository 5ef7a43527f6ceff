// Drives cloudevents with its own transport: binary, and structured where a type is beyond the characters of a header.
import { CloudEvent, Mode, emitterFor, httpTransport } from "cloudevents";
import { drive } from "./driving.mjs";

await drive(async (load, errors) => {
  const sink = httpTransport(`${load.url}/events`);
  const headers = { "X-API-Key": load.key };
  const emit = { binary: emitterFor(sink), structured: emitterFor(sink, { mode: Mode.STRUCTURED }) };
  for (const [number, { event_type, user_id, moment, event_id, properties }] of load.events.entries()) {
    const event = new CloudEvent({
      id: event_id,
      source: "https://example.com/shop",
      type: event_type,
      subject: user_id,
      time: moment.toISOString(),
      data: properties,
    });
    const mode = number % 2 || /[^\x20-\xff]/.test(event_type) ? "structured" : "binary";
    // It tells no status. What the answer says of it is in the body.
    const { body } = await emit[mode](event, { headers });
    const answer = JSON.parse(body);
    if (typeof answer.code === "string" || answer.rejected?.length) errors.push(body);
  }
});
