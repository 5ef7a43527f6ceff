// Drives @amplitude/analytics-node.
import * as amplitude from "@amplitude/analytics-node";
import { drive, text } from "./driving.mjs";

await drive(async (load, errors) => {
  await amplitude.init(load.key, { serverUrl: `${load.url}/2/httpapi`, flushQueueSize: 8, logLevel: amplitude.Types.LogLevel.Warn }).promise;
  const person = { user_id: load.user_id };
  const handed = [
    amplitude.identify(new amplitude.Identify().set("name", "Zoë ☕"), person),
    amplitude.groupIdentify("company", "group of users", new amplitude.Identify().set("plan", "größer"), person),
    ...load.events.map(({ event_type, user_id, moment, event_id, properties }) =>
      amplitude.track(event_type, properties, { user_id, time: moment.getTime(), insert_id: event_id }),
    ),
  ];
  await amplitude.flush().promise;
  for (const each of handed) {
    const { code, message } = await each.promise;
    if (code !== 200) errors.push(text({ code, message }));
  }
});
