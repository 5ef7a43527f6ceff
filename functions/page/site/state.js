// @ts-check
// What the page shows, in the fragment of its address: a fragment is not sent to any server.

import { addDays, daysBetween, today } from "./format.js";

/**
 * @typedef {object} State
 * @property {string} view
 * @property {string} project a project's name, or * for all side by side
 * @property {string} range 7d, 30d, 90d, or custom with `from` and `to`
 * @property {string} from
 * @property {string} to
 * @property {string} period day, week or month
 * @property {string[]} segment conditions of the API's parameter `segment`
 * @property {string} share token of a share link
 */

/** The ranges that have a name. */
export const RANGES = { "7d": "Last 7 days", "30d": "Last 30 days", "90d": "Last 90 days", custom: "From … to …" };
export const PERIODS = { day: "Daily", week: "Weekly", month: "Monthly" };
/** The days that the API answers about at once. */
export const MOST_DAYS = 366;
const DAY = /^\d{4}-\d\d-\d\d$/;

/**
 * The state that a fragment names. What it does not name, or names wrongly, is as it is at first.
 * @param {string} fragment
 * @returns {State}
 */
export function readState(fragment) {
  const [path, query = ""] = fragment.replace(/^#/, "").split("?");
  const given = new URLSearchParams(path.startsWith("/") ? query : path);
  const from = given.get("from") ?? "", to = given.get("to") ?? "";
  const days = isDay(from) && isDay(to) && from <= to;
  const range = given.get("range") ?? "";
  const period = given.get("period") ?? "";
  return {
    view: path.startsWith("/") ? path.slice(1) : "",
    project: given.get("project") ?? "",
    range: Object.hasOwn(RANGES, range) && (range !== "custom" || days) ? range : days ? "custom" : "30d",
    from: days ? from : "",
    to: days ? to : "",
    period: Object.hasOwn(PERIODS, period) ? period : "day",
    segment: given.getAll("segment"),
    share: given.get("share") ?? "",
  };
}

/** @param {string} text */
const isDay = (text) => DAY.test(text) && !Number.isNaN(Date.parse(text)) && addDays(text, 0) === text;

/**
 * The fragment of a state.
 * @param {State} state
 */
export function writeState(state) {
  const query = new URLSearchParams();
  if (state.project) query.set("project", state.project);
  if (state.range !== "30d") query.set("range", state.range);
  if (state.range === "custom") {
    query.set("from", state.from);
    query.set("to", state.to);
  }
  // A share says how it begins.
  if (state.period !== "day" || state.share) query.set("period", state.period);
  state.segment.forEach((condition) => query.append("segment", condition));
  if (state.share) query.set("share", state.share);
  const text = query.toString();
  return `#/${state.view}${text ? `?${text}` : ""}`;
}

/**
 * The days of a state's range, and as many days before them.
 * @param {State} state
 * @param {string} timezone of the project
 */
export function daysOf(state, timezone) {
  const now = today(timezone);
  const last = state.range === "custom" ? state.to : now;
  const first = state.range === "custom" ? state.from : addDays(now, 1 - Number.parseInt(state.range));
  const length = daysBetween(first, last);
  return { first, last, length, before: { first: addDays(first, -length), last: addDays(first, -1) }, today: now };
}
