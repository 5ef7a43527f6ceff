// Drives @rudderstack/rudder-sdk-node, which makes its ids itself.
import RudderAnalytics from "@rudderstack/rudder-sdk-node";
import { called, drive, text } from "./driving.mjs";

await drive(async (load, errors) => {
  const analytics = new RudderAnalytics(load.key, {
    dataPlaneUrl: load.url,
    path: "/v1/batch",
    flushAt: 8,
    errorHandler: (error) => errors.push(text(error)),
  });
  analytics.identify({ userId: load.user_id, traits: { name: "Zoë ☕" } });
  analytics.group({ userId: load.user_id, groupId: "group of users", traits: { plan: "größer" } });
  analytics.alias({ userId: load.user_id, previousId: "somebody" });
  const handed = load.events.map(({ call, event_type, user_id, moment, properties }) => {
    const what = call === "track" ? { event: event_type } : { name: "Startseite" };
    return called((done) => analytics[call]({ ...what, userId: user_id, properties, timestamp: moment }, done));
  });
  await analytics.flush();
  await Promise.all(handed);
});
