// @ts-check
// What a view is about: a project, a range of days, a period, a segment.

import { fill, freshId, h, select } from "./dom.js";
import { daysOf, MOST_DAYS, PERIODS, RANGES } from "./state.js";
import { empty, problem } from "./panel.js";
import { daysBetween, number } from "./format.js";

/** @typedef {import("./views.js").Context} Context */

/**
 * @param {Context} context
 * @param {import("./views.js").View} view
 */
export function pickers(context, view) {
  const { state, projects, go } = context;
  const names = Object.fromEntries(projects.map(({ name, display_name }) => [name, display_name]));
  if (view.picks && projects.length > 1) names["*"] = "All, side by side";
  return h("form", { class: "pickers", "aria-label": "What is shown", onsubmit: (event) => event.preventDefault() }, [
    projects.length > 1 && select("Project", names, state.project, (project) => go({ project })),
    view.picks && [
      !state.share && select("Range", RANGES, state.range, (range) => {
        const days = daysOf(state, context.project.timezone);
        go(range === "custom" ? { range, from: days.first, to: days.last } : { range });
      }),
      !state.share && state.range === "custom" && customRange(context),
      state.project !== "*" && [
        h("div", { class: "choices", role: "group", "aria-label": "Period" }, [
          Object.entries(PERIODS).map(([period, text]) =>
            h("button", {
              type: "button",
              "aria-pressed": String(period === state.period),
              onclick: () => go({ period }),
            }, text)
          ),
        ]),
        !state.share && segmentPicker(context),
      ],
    ],
  ]);
}

/** @param {Context} context */
function customRange({ state, go }) {
  const from = h("input", { type: "date", "aria-label": "From", value: state.from, required: true });
  const to = h("input", { type: "date", "aria-label": "To", value: state.to, required: true });
  const problemOf = () => {
    if (from.value > to.value) return "This has to be the first day or a later one.";
    return daysBetween(from.value, to.value) > MOST_DAYS ? `${MOST_DAYS} days can be shown at most.` : "";
  };
  const take = (/** @type {"checkValidity" | "reportValidity"} */ check) => {
    to.setCustomValidity(problemOf());
    if (from.value === state.from && to.value === state.to) return;
    if (from[check]() && to[check]()) go({ from: from.value, to: to.value });
  };
  // Of a day that is typed, a browser tells each digit as a change: the year 2 on the way to 2026. Whoever goes from one
  // field to the other may have the second one still to change, and is not held up.
  for (const input of [from, to]) {
    let typed = false;
    input.addEventListener("pointerdown", () => typed = false);
    input.addEventListener("keydown", ({ key }) => {
      typed = key !== "Enter";
      if (key === "Enter") take("reportValidity");
    });
    input.addEventListener("change", () => typed || take("reportValidity"));
    input.addEventListener("blur", () => typed && input.isConnected && take("checkValidity"));
  }
  return [from, to];
}

/** @param {Context} context */
function segmentPicker(context) {
  const { state, go } = context;
  const id = freshId("segment");
  const place = h("div", { class: "segment-editor", id, popover: "auto", role: "dialog", "aria-label": "Segment" });
  place.addEventListener("toggle", (/** @type {any} */ event) => {
    if (event.newState === "open") edit(context, place);
  });
  return [
    state.segment.map((condition) =>
      h("span", { class: "chip" }, [
        spoken(condition),
        h("button", {
          type: "button",
          "aria-label": `Remove ${spoken(condition)}`,
          onclick: () => go({ segment: state.segment.filter((each) => each !== condition) }),
        }, "×"),
      ])
    ),
    state.segment.length < 5 && h("button", { type: "button", class: "quiet", popovertarget: id }, "+ Segment"),
    place,
  ];
}

/**
 * A condition as people say it.
 * @param {string} condition
 */
function spoken(condition) {
  const colon = condition.indexOf(":");
  return `${condition.slice(0, colon).replace("properties.", "")} is ${condition.slice(colon + 1)}`;
}

/**
 * Chooses a condition among the names and values that events have.
 * @param {Context} context
 * @param {HTMLElement} place
 */
async function edit({ api, state, project, signal, go }, place) {
  const days = daysOf(state, project.timezone);
  const range = { project: project.name, from: days.first, to: days.last };
  /** @param {string} condition */
  const chosen = (condition) => go({ segment: [...new Set([...state.segment, condition])] });
  const rest = h("div", {});
  fill(place, h("p", { class: "loading small" }, "Loading"));
  try {
    const { data: types } = await api.get("meta/event-types", range, signal);
    const named = types.filter((/** @type {any} */ each) => each.event_type !== "$other");
    if (!named.length) return fill(place, empty("There are no events in these days to choose from."));
    const names = Object.fromEntries(named.map((/** @type {any} */ each) => [each.event_type, each.event_type]));
    fill(place, [
      h("h3", {}, "Only events"),
      select("Event type", { "": "of the type …", ...names }, "", async (type) => {
        if (!type) return fill(rest);
        fill(rest, [
          h("button", { type: "button", onclick: () => chosen(`event_type:${type}`) }, `of the type ${type}`),
          h("p", { class: "loading small" }, "Loading its properties"),
        ]);
        try {
          const { data: properties } = await api.get("meta/properties", { ...range, event_type: type }, signal);
          fill(rest, [
            h("button", { type: "button", onclick: () => chosen(`event_type:${type}`) }, `of the type ${type}`),
            h("h3", {}, "or of any type, with"),
            properties.map((/** @type {any} */ each) =>
              h("details", {}, [
                h("summary", {}, each.property),
                h(
                  "ul",
                  { class: "values" },
                  each.values.filter((/** @type {any} */ value) => value.condition).map(
                    (/** @type {any} */ value) =>
                      h("li", {}, [
                        h("button", { type: "button", class: "quiet", onclick: () => chosen(value.condition) }, [
                          String(value.value),
                          h("small", {}, ` ${number(value.count)}`),
                        ]),
                      ]),
                  ),
                ),
              ])
            ),
            !properties.length && h("p", { class: "soft" }, "Its events have no properties."),
          ]);
        } catch (error) {
          if (!signal.aborted) fill(rest, problem(error));
        }
      }),
      rest,
    ]);
  } catch (error) {
    if (!signal.aborted) fill(place, problem(error));
  }
}
