// Drives mixpanel: half of the events one by one, by GET, the others in a batch, by POST.
import Mixpanel from "mixpanel";
import { called, drive, text } from "./driving.mjs";

await drive(async (load, errors) => {
  const { protocol, hostname, port, pathname } = new URL(load.url);
  const client = Mixpanel.init(load.key, {
    protocol: protocol.replace(":", ""),
    host: hostname,
    port,
    path: pathname,
    verbose: load.variant === "verbose",
  });
  // An application goes on where a call fails.
  const call = (work) => called(work).catch((error) => errors.push(text(error)));
  await call((done) => client.people.set(load.user_id, { name: "Zoë ☕" }, done));
  await call((done) => client.groups.set("company", "group of users", { plan: load.user_id }, done));
  const events = load.events.map(({ event_type, user_id, moment, event_id, properties }) => ({
    event: event_type,
    properties: { ...properties, distinct_id: user_id, time: moment, $insert_id: event_id },
  }));
  // A call for one event adds the SDK's version to its properties, and one for a batch does not. So what is sent twice
  // goes the same way both times.
  const half = events.length >> 1;
  const single = new Set(events.slice(0, half).map(({ properties }) => properties.$insert_id));
  const batch = events.filter(({ properties }) => !single.has(properties.$insert_id));
  for (const { event, properties } of events.filter((each) => !batch.includes(each))) {
    await call((done) => client.track(event, properties, done));
  }
  await call((done) => client.track_batch(batch, (errors) => done(errors?.[0])));
});
