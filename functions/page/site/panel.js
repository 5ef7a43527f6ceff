// @ts-check
// A number or a chart with its table, what it means, and what to do where there is none.

import { csvOf, save, scrolling, tableOf } from "./table.js";
import { fill, freshId, h } from "./dom.js";
import { ApiError } from "./api.js";
import { time } from "./format.js";
import { DEFINITIONS } from "./definitions.js";

/**
 * @typedef {object} Shown
 * @property {Child} content
 * @property {import("./table.js").Table} [table]
 * @property {any} [answer] of the API: it says of when it is, and from where
 * @property {string} [file] name of the file of the table, without its ending
 */

/**
 * A part of a view that loads by itself.
 * @param {object} what
 * @param {string} what.title
 * @param {string} [what.size] tile, wide or full
 * @param {string} what.about a key of `DEFINITIONS`
 * @param {(signal: AbortSignal) => Promise<Shown>} what.load
 * @param {AbortSignal} what.signal ends the load
 */
export function panel({ title, size = "", about, load, signal }) {
  const id = freshId("panel");
  const body = h("div", { class: "body" });
  const actions = h("div", { class: "actions" });
  const element = h(
    "section",
    { class: `panel ${size}`, "aria-labelledby": id, "data-panel": about },
    h("header", {}, h("h2", { id }, title), actions),
    body,
  );
  const run = async () => {
    element.setAttribute("aria-busy", "true");
    fill(actions);
    fill(body, h("div", { class: "loading" }, h("span", { class: "hidden" }, "Loading")));
    try {
      const shown = await load(signal);
      fill(
        body,
        shown.content,
        shown.table && size !== "tile" &&
          h(
            "details",
            { class: "table" },
            h("summary", {}, "Table"),
            scrolling(`Table: ${title}`, tableOf(shown.table, title)),
          ),
      );
      fill(actions, aboutButton(title, about, shown.answer, shown.table, shown.file));
    } catch (error) {
      if (signal.aborted) return;
      fill(body, problem(error, run));
    } finally {
      element.removeAttribute("aria-busy");
    }
  };
  run();
  return element;
}

/**
 * What happened, and a way to try again.
 * @param {unknown} error
 * @param {() => void} [again]
 */
export function problem(error, again) {
  const told = error instanceof ApiError ? error.message : "The page could not show this.";
  if (!(error instanceof ApiError)) console.error(error);
  return h(
    "div",
    { class: "problem", role: "alert" },
    h("p", {}, told),
    error instanceof ApiError && h("p", { class: "code" }, error.code),
    again && h("button", { type: "button", onclick: again }, "Try again"),
  );
}

/**
 * What to do where there is nothing to show.
 * @param {string} text
 * @param {...Child} more
 */
export function empty(text, ...more) {
  return h("div", { class: "empty" }, h("p", {}, text), more);
}

const STORES = {
  counters: "counters, kept as events are counted",
  "day-users": "the users of each day",
  archive: "the archived events",
};

/**
 * @param {string} title
 * @param {string} about
 * @param {any} answer
 * @param {import("./table.js").Table} [table]
 * @param {string} [file]
 */
function aboutButton(title, about, answer, table, file) {
  const id = freshId("about");
  const store = /** @type {Record<string, string>} */ (STORES)[answer?.from_store];
  const parts = answer ? [answer, ...(answer.data ?? answer.cohorts ?? [])] : [];
  const open = parts.some(({ complete }) => complete === false);
  const rows = answer
    ? Object.entries({
      Definition: answer.definition,
      Timezone: answer.timezone,
      "As of": answer.as_of && time(answer.as_of),
      "Read from": store ?? answer.from_store,
      Final: open ? "No: a period in it is not over. Late events may change the others too." : "Late events change it.",
      Segment: answer.segment?.join(", "),
    }).filter(([, value]) => value)
    : [];
  const dialog = h(
    "div",
    { class: "about", id, popover: "auto", role: "dialog", "aria-label": `About ${title}` },
    h("h3", {}, title),
    DEFINITIONS[about].map((sentence) => h("p", {}, sentence)),
    h("dl", {}, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))])),
    table && h("button", {
      type: "button",
      onclick: () => save(`${file ?? about}.csv`, csvOf(table)),
    }, "Save as CSV"),
  );
  const button = h("button", {
    type: "button",
    class: "quiet icon",
    popovertarget: id,
    "aria-label": `About ${title}`,
    title: "What this is",
  }, "?");
  return [button, dialog];
}
