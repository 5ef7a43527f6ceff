// @ts-check
// All views. A further one is a file and a line here.

/**
 * What a view gets, and what it may ask for.
 * @typedef {object} Context
 * @property {import("./api.js").Api} api
 * @property {import("./session.js").Session} session
 * @property {import("./state.js").State} state
 * @property {Project} project the chosen one; the first where all are shown side by side
 * @property {Project[]} projects
 * @property {AbortSignal} signal aborted when another view is shown
 * @property {(change: Partial<import("./state.js").State>) => void} go changes the state
 */

/** @typedef {{name: string, display_name: string, timezone: string}} Project */

/**
 * @typedef {object} View
 * @property {string} name in the address
 * @property {string} title
 * @property {string} scope that a credential must have to see it
 * @property {boolean} picks whether it asks for a range, a period and a segment
 * @property {() => Promise<{show: (context: Context) => Child}>} load
 */

/** @type {View[]} */
export const VIEWS = [
  { name: "overview", title: "Overview", scope: "read", picks: true, load: () => import("./view_overview.js") },
  { name: "live", title: "Live", scope: "read", picks: false, load: () => import("./view_live.js") },
  { name: "files", title: "Files", scope: "import", picks: false, load: () => import("./view_files.js") },
  { name: "settings", title: "Settings", scope: "admin", picks: false, load: () => import("./view_settings.js") },
];
