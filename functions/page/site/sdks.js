// @ts-check
// What to change in other services' SDKs, as docs/sdks.md has it.

/**
 * For each SDK its lines: `URL` is the API's address, `HOST` and `PATH` are the host and the path in it.
 * @type {Record<string, string>}
 */
export const SDKS = {
  "Segment for Python": `analytics = Client("KEY", host="URL")`,
  "RudderStack for Python": `analytics = Client("KEY", host="URL")`,
  "Segment for node": `new Analytics({ writeKey: "KEY", host: "ORIGIN", path: "PATH/batch" })`,
  "RudderStack for node": `new Analytics("KEY", { dataPlaneUrl: "URL" })`,
  "Segment for browsers": `integrations: { "Segment.io": { apiHost: "HOSTPATH" } }`,
  Jitsu: `jitsuAnalytics({ host: "URL", writeKey: "KEY:jitsu" })`,
  "PostHog for Python": `Posthog("KEY", host="URL")`,
  "PostHog for node": `new PostHog("KEY", { host: "URL" })`,
  "PostHog for browsers": `posthog.init("KEY", { api_host: "URL" })`,
  "Snowplow for Python": `Tracker("main", Emitter("URL"), app_id="KEY")`,
  "Amplitude for Python": `Amplitude("KEY", Config(server_url="URL/2/httpapi"))`,
  "Amplitude for node": `init("KEY", { serverUrl: "URL/2/httpapi" })`,
  "Mixpanel for Python":
    `Mixpanel("KEY", Consumer(events_url="URL/track", people_url="URL/engage", groups_url="URL/groups"))`,
  "Mixpanel for node": `Mixpanel.init("KEY", { host: "HOST", path: "PATH" })`,
  CloudEvents: `POST URL/events\nX-API-Key: KEY`,
};

/**
 * The lines of an SDK for an address and a key.
 * @param {string} sdk
 * @param {string} base the API's address
 * @param {string} key
 */
export function linesOf(sdk, base, key) {
  const url = new URL(base);
  const path = url.pathname.replace(/\/$/, "");
  /** @type {Record<string, string>} */
  const words = {
    URL: url.origin + path,
    ORIGIN: url.origin,
    HOSTPATH: url.host + path,
    HOST: url.host,
    PATH: path,
    KEY: key,
  };
  return SDKS[sdk].replace(/\b(URL|ORIGIN|HOSTPATH|HOST|PATH|KEY)(?=\b|\/)/g, (word) => words[word]);
}
