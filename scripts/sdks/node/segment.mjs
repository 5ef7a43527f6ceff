// Drives @segment/analytics-node. Its `host` loses a path, so that what is in the path goes into `path`.
import { Analytics } from "@segment/analytics-node";
import { drive, text } from "./driving.mjs";

await drive(async (load, errors) => {
  const { origin, pathname } = new URL(load.url);
  // A stack on a busy machine may take longer to start its functions than the 10 s that the SDK waits.
  const settings = { flushAt: 8, httpRequestTimeout: 60_000 };
  const analytics = new Analytics({ writeKey: load.key, host: origin, path: `${pathname}/batch`, ...settings });
  analytics.on("error", (error) => errors.push(text(error)));
  analytics.identify({ userId: load.user_id, traits: { name: "Zoë ☕" } });
  analytics.group({ userId: load.user_id, groupId: "group of users", traits: { plan: "größer" } });
  analytics.alias({ userId: load.user_id, previousId: "somebody" });
  for (const { call, event_type, user_id, moment, event_id, properties } of load.events) {
    const what = call === "track" ? { event: event_type } : { name: "Startseite" };
    analytics[call]({ ...what, userId: user_id, properties, timestamp: moment, messageId: event_id });
  }
  await analytics.closeAndFlush();
});
