// Drives posthog-node, in the capture mode that the load names.
import { drive, text } from "./driving.mjs";

await drive(async (load, errors) => {
  // The one way to choose: https://posthog.com/docs/libraries/node
  if (load.variant === "v1") process.env.POSTHOG_CAPTURE_MODE = "v1";
  const { PostHog } = await import("posthog-node");
  // A stack on a busy machine may take longer to start its functions than the 10 s that the SDK waits.
  const client = new PostHog(load.key, { host: load.url, flushAt: 8, requestTimeout: 60_000 });
  client.on("error", (error) => errors.push(text(error)));
  client.identify({ distinctId: load.user_id, properties: { name: "Zoë ☕", $set_once: { plan: "größer" } } });
  client.groupIdentify({ groupType: "company", groupKey: "group of users", properties: { plan: "größer" } });
  client.alias({ distinctId: load.user_id, alias: "somebody" });
  for (const { event_type, user_id, moment, event_id, properties } of load.events) {
    client.capture({ event: event_type, distinctId: user_id, properties, timestamp: moment, uuid: event_id });
  }
  await client.shutdown();
});
