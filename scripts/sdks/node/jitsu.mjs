// Drives @jitsu/js as on a server. It makes its ids itself, and an event's time is that of the call.
import { jitsuAnalytics } from "@jitsu/js";
import { drive } from "./driving.mjs";

await drive(async (load) => {
  const analytics = jitsuAnalytics({ host: load.url, writeKey: `${load.key}:jitsu`, s2s: load.variant === "s2s", fetch });
  await analytics.identify(load.user_id, { name: "Zoë ☕" });
  await analytics.group("group of users", { plan: "größer" });
  for (const { call, event_type, user_id, properties } of load.events) {
    const options = { userId: user_id };
    if (call === "track") await analytics.track(event_type, properties, options);
    else await analytics.page({ ...properties, name: "Startseite" }, options);
  }
});
