// @ts-check

import { add, fill, h } from "./dom.js";
import { ApiError, pause } from "./api.js";
import { empty, problem } from "./panel.js";
import { number, time, today } from "./format.js";
import { scrolling, tableOf } from "./table.js";

/** @typedef {import("./views.js").Context} Context */
/** @typedef {{at: number, answer: any}} Moment */

const SECONDS = 3;
const MINUTES = 10;
const LEDGER_SECONDS = 30;
const MOST_KEYS = 20;

/** @param {Context} context */
export function show(context) {
  const came = h("div", { class: "body" });
  const queue = h("div", { class: "body" });
  const told = h("p", { class: "soft" });
  watch(context, came, queue, told);
  return [
    told,
    h("div", { class: "columns" }, [
      h("section", { class: "panel short", "aria-label": "What came in" }, [
        h("header", {}, h("h2", {}, "What came in")),
        came,
      ]),
      h("section", { class: "panel short", "aria-label": "Waiting" }, [h("header", {}, h("h2", {}, "Waiting")), queue]),
    ]),
    context.session.principal?.scopes.includes("admin") && byKey(context),
    lookUp(context),
  ];
}

/**
 * What became of the events that each key sent today, for an admin: the ledgers of the keys that are used most.
 * @param {Context} context
 */
function byKey({ api, project, signal }) {
  const body = h("div", { class: "body" });
  const columns = ["received", "accepted", "rejected", "counted", "duplicates", "conflicts"];
  const draw = async () => {
    const day = today(project.timezone);
    const { keys } = await api.get("keys", {}, signal);
    const used = keys.filter((/** @type {any} */ key) => ["*", project.name].includes(key.project) && key.requests)
      .sort((/** @type {any} */ one, /** @type {any} */ other) => other.requests - one.requests).slice(0, MOST_KEYS);
    const rows = [];
    for (const key of used) {
      const query = { from: day, to: day, project: project.name };
      const { data: [line] } = await api.get(`keys/${key.key_id}/ledger`, query, signal);
      const rejected = Object.values(line.rejected).reduce((all, count) => all + count, 0);
      if (line.received) rows.push([key.name, ...columns.map((name) => name === "rejected" ? rejected : line[name])]);
    }
    fill(
      body,
      rows.length
        ? tableOf({
          columns: [{ name: "key" }, ...columns.map((name) => ({ name, numeric: true }))],
          rows,
          formats: [String, ...columns.map(() => number)],
        }, "Events of today by key")
        : h("p", { class: "soft" }, "No key has sent an event today."),
    );
  };
  const go = async () => {
    while (!signal.aborted) {
      try {
        if (!document.hidden) await draw();
      } catch (error) {
        if (!signal.aborted) fill(body, problem(error));
      }
      await pause(1000 * LEDGER_SECONDS, signal).catch(() => {});
    }
  };
  fill(body, h("div", { class: "loading" }));
  go();
  return h("section", { class: "panel short", "aria-label": "Today by key" }, [
    h("header", {}, h("h2", {}, "Today by key")),
    scrolling("Ledgers", body),
  ]);
}

/**
 * Asks again and again, while somebody looks.
 * @param {Context} context
 * @param {HTMLElement} came
 * @param {HTMLElement} queue
 * @param {HTMLElement} told
 */
async function watch(context, came, queue, told) {
  const { api, project, signal } = context;
  /** @type {Moment[]} */
  const moments = [];
  fill(came, h("div", { class: "loading" }));
  while (!signal.aborted) {
    try {
      if (!document.hidden) {
        const answer = await api.get("live", { project: project.name }, signal);
        const last = moments.at(-1);
        // A new day begins to count at zero.
        if (last && last.answer.day !== answer.day) moments.length = 0;
        moments.push({ at: Date.now(), answer });
        while (moments.length > 1 && Date.now() - moments[1].at > MINUTES * 60_000) moments.shift();
        fill(
          told,
          `Since ${
            time(moments[0].answer.as_of)
          }, and no longer than ${MINUTES} minutes. Asked every ${SECONDS} seconds.`,
        );
        drawEvents(came, moments[0].answer, answer);
        drawQueue(queue, answer.queue);
      }
      await pause(1000 * SECONDS, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError) || ![0, 429, 503].includes(error.status)) {
        return fill(came, problem(error, () => watch(context, came, queue, told)));
      }
      fill(told, `${error.message} It is asked again.`);
      await pause(3000 * SECONDS, signal).catch(() => {});
    }
  }
}

/**
 * @param {HTMLElement} place
 * @param {any} before
 * @param {any} now
 */
function drawEvents(place, before, now) {
  const types = differences(before.events, now.events, "event_type");
  const rejected = differences(before.rejected_in_all, now.rejected_in_all, "code");
  fill(
    place,
    table("Events by type", "Event type", "Today", types),
    !types.length && empty(
      "No event has come in today.",
      h("p", {}, [
        "The lines to send one are in ",
        h("a", {
          href: "#/settings",
        }, "Settings"),
        ".",
      ]),
    ),
    rejected.length > 0 && table("Rejected events by code", "Rejected", "In all", rejected),
  );
}

/**
 * @param {string} about
 * @param {string} first
 * @param {string} last
 * @param {[string, number, number][]} rows
 */
function table(about, first, last, rows) {
  const columns = [{ name: first }, { name: "Just now", numeric: true }, { name: last, numeric: true }];
  const grown = (/** @type {number} */ count) => (count > 0 ? `+${number(count)}` : "0");
  const caption = `${about}, since the view was opened and ${last.toLowerCase()}`;
  return scrolling(about, tableOf({ columns, rows, formats: [String, grown, number] }, caption));
}

/**
 * What is there now, and by how much it grew.
 * @param {any[]} before
 * @param {any[]} now
 * @param {string} name
 * @returns {[string, number, number][]}
 */
function differences(before, now, name) {
  const counts = new Map(before.map((each) => [each[name], each.count]));
  return now.map((each) => [each[name], each.count - (counts.get(each[name]) ?? 0), each.count]);
}

/**
 * @param {HTMLElement} place
 * @param {any} queue
 */
function drawQueue(place, queue) {
  if (!queue) return fill(place, h("p", {}, "All projects share the queue. Who sees this project alone is not told."));
  const rows = [
    ["Batches that wait to be counted", number(queue.waiting)],
    ["The oldest has waited", queue.oldest_seconds === null ? "–" : `${number(queue.oldest_seconds)} s`],
    ["In the dead-letter queue", number(queue.dead_letters)],
  ];
  fill(
    place,
    h("dl", {}, rows.map(([name, value]) => [h("dt", {}, name), h("dd", { class: "number" }, value)])),
    queue.dead_letters > 0 && h("p", { class: "down" }, [
      "Batches that could not be counted wait there, and nothing of them is lost. ",
      h("code", {}, "rollcall dlq"),
      " shows them and sends them again.",
    ]),
  );
}

/** @param {any} answer */
function arrived({ event_type: type, day, state }) {
  if (state === "pending") return `Yes: it is stored as ${type} of ${day}, and is about to be counted.`;
  if (state === "stored") return `Yes: it is stored as ${type} of ${day}. It tells who a user is, and is in no number.`;
  return `Yes: it is counted as ${type} on ${day}.`;
}

/** @param {Context} context */
function lookUp({ api, project, signal }) {
  const id = h("input", {
    required: true,
    autocomplete: "off",
    spellcheck: "false",
    "aria-label": "Event id",
    size: "40",
  });
  const found = h("div", { role: "status" });
  const form = h("form", {
    class: "row",
    onsubmit: async (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      fill(found, h("p", { class: "loading small" }, "Looking"));
      try {
        const answer = await api.get("events", { event_id: id.value.trim(), project: project.name }, signal);
        fill(found, h("p", {}, arrived(answer)));
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) fill(found, h("p", {}, `Not here. ${error.message}`));
        else fill(found, problem(error));
      }
    },
  }, [id, h("button", {}, "Look it up")]);
  const panel = h("section", { class: "panel short", "aria-label": "Did my event arrive?" });
  add(panel, [h("header", {}, h("h2", {}, "Did my event arrive?")), h("div", { class: "body" }, [form, found])]);
  return panel;
}
