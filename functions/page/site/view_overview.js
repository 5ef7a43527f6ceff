// @ts-check

import { addDays, change, decimal, longDay, number, oneDecimal, percent, shortDay, span } from "./format.js";
import { empty, panel } from "./panel.js";
import { lineChart, stackedBars } from "./chart.js";
import { grid, scrolling } from "./table.js";
import { h } from "./dom.js";
import { daysOf, MOST_DAYS, PERIODS } from "./state.js";

/** @typedef {import("./views.js").Context} Context */
/** @typedef {ReturnType<typeof daysOf>} Days */

const TYPES = 10;
const MOST_TYPES = 1000;
// A row of the events of all types that are not named.
const OTHER_TYPES = "$other";
const MOST_COHORTS = { day: 31, week: 26, month: 24 };

/** @param {Context} context */
export function show(context) {
  const { first, last, length } = daysOf(context.state, context.project.timezone);
  if (length > MOST_DAYS) {
    return empty(
      `${number(MOST_DAYS)} days can be shown at most. From ${longDay(first)} to ${longDay(last)} there are ${
        number(length)
      }.`,
    );
  }
  return context.state.project === "*" ? sideBySide(context) : ofOne(context);
}

/** @param {Context} context */
function ofOne({ api, state, project, signal }) {
  const days = daysOf(state, project.timezone);
  const common = { project: project.name, segment: state.segment };
  const range = { ...common, from: days.first, to: days.last };
  const before = { ...common, from: days.before.first, to: days.before.last };
  // Several parts show one answer.
  const ask = once((/** @type {string} */ path, query) => api.get(path, query, signal));
  // The range and the days before it: in one question where they are no more days than one may be about.
  const askBoth = async (/** @type {string} */ path, /** @type {any} */ more = {}) => {
    if (2 * days.length <= MOST_DAYS) return await ask(path, { ...range, from: before.from, ...more });
    const [now, then] = await Promise.all([ask(path, { ...range, ...more }), ask(path, { ...before, ...more })]);
    // A week or a month may be in both.
    const earlier = then.data.filter((/** @type {any} */ { date, to = date }) => to < days.first);
    return { ...now, from: then.from, data: [...earlier, ...now.data] };
  };
  const daily = () => askBoth("stats/dau");
  const types = () => ask("stats/top-events", { ...range, limit: MOST_TYPES });
  const typesBefore = () => ask("stats/top-events", { ...before, limit: MOST_TYPES });

  const weekly = askBoth("stats/actives", { rolling: 7 });
  // Whoever has answered the first has read the days of the second.
  const rolling = async (/** @type {number} */ rolling) => {
    await weekly.catch(() => {});
    return await askBoth("stats/actives", { rolling });
  };
  const monthly = rolling(30);
  // And of all others. The first chart waits for none of these.
  const later = async (/** @type {() => Promise<any>} */ load) => {
    await monthly.catch(() => {});
    return await load();
  };
  const lifecycle = (/** @type {string} */ period) => later(() => askBoth("stats/lifecycle", { period }));
  const tiles = [
    panel({
      title: "Daily actives",
      size: "tile",
      about: "daily-actives",
      signal,
      load: async () => {
        const answer = await daily();
        const over = answer.data.filter((/** @type {any} */ day) => day.date < days.today && !day.no_day);
        const now = mean(over.filter((/** @type {any} */ day) => day.date >= days.first));
        const before = mean(over.filter((/** @type {any} */ day) => day.date < days.first));
        return tile(now, before, decimal, answer, "on a day, on average");
      },
    }),
    ...[["Weekly actives", "weekly-actives", 7], ["Monthly actives", "monthly-actives", 30]].map(
      ([title, about, length]) =>
        panel({
          title: String(title),
          size: "tile",
          about: String(about),
          signal,
          load: async () => {
            const answer = await rolling(Number(length));
            const over = answer.data.filter((/** @type {any} */ each) => each.complete);
            const now = over.filter((/** @type {any} */ each) => each.to >= days.first).at(-1);
            const before = over.filter((/** @type {any} */ each) => each.to < days.first).at(-1);
            const until = now ? `up to ${shortDay(now.to)}` : "no such day is over";
            return tile(now?.active_users ?? null, before?.active_users ?? null, number, answer, until);
          },
        }),
    ),
    panel({
      title: "Events",
      size: "tile",
      about: "events",
      signal,
      load: async () => {
        const [now, before] = await Promise.all([types(), typesBefore()]);
        const limited = [now, before].some(isLimited);
        const what = limited ? `of the ${number(MOST_TYPES)} most frequent types` : "in the range";
        return tile(sum(now.data, "count"), sum(before.data, "count"), number, now, what);
      },
    }),
    panel({
      title: "New users",
      size: "tile",
      about: "new-users",
      signal,
      load: async () => {
        const answer = await lifecycle("day");
        const [now, before] = cut(answer.data, days);
        return tile(sum(now, "new"), sum(before, "new"), number, answer, "seen for the first time");
      },
    }),
  ];

  return [
    h("div", { class: "tiles" }, tiles),
    panel({
      title: `Active users, ${PERIODS[/** @type {keyof PERIODS} */ (state.period)].toLowerCase()}`,
      size: "full",
      about: "actives",
      signal,
      load: () => actives({ state, days, daily, rolling, askBoth }),
    }),
    h("div", { class: "columns" }, [
      panel({
        title: "New, returning, resurrected and gone",
        about: "lifecycle",
        signal,
        load: async () => lifecycleOf(await lifecycle(state.period), days, state.period),
      }),
      panel({
        title: "Top events",
        about: "top-events",
        signal,
        load: async () => topEvents(...(await Promise.all([types(), typesBefore()])), days),
      }),
    ]),
    panel({
      title: "Retention",
      size: "full",
      about: "retention",
      signal,
      load: async () => {
        const most = MOST_COHORTS[/** @type {keyof MOST_COHORTS} */ (state.period)];
        const table = { ...range, period: state.period };
        if (state.period === "day" && days.length > most) table.from = addDays(days.last, 1 - most);
        return retention(await later(() => ask("stats/retention/table", table)), state.period);
      },
    }),
    panel({
      title: "Stickiness",
      size: "full",
      about: "stickiness",
      signal,
      load: async () => stickiness(await later(() => ask("stats/stickiness", range)), days),
    }),
  ];
}

/**
 * @param {number | null} now
 * @param {number | null} before
 * @param {(value: number) => string} format
 * @param {any} answer
 * @param {string} what
 */
function tile(now, before, format, answer, what) {
  const moved = change(now, before);
  const columns = [{ name: "now", numeric: true }, { name: "before", numeric: true }];
  return {
    content: [
      h("p", { class: "value", "data-value": now ?? "" }, now === null ? "–" : format(now)),
      h("p", { class: "what" }, what),
      h("p", { class: "against" }, [
        moved === null ? "nothing to compare with" : [
          h("span", { class: moved < 0 ? "down" : "up" }, [moved < 0 ? "▼ " : "▲ ", ratio(moved)]),
          ` from ${format(before ?? 0)}`,
        ],
      ]),
    ],
    table: { columns, rows: [[now, before]] },
    answer,
  };
}

/**
 * A change as people say it: in per cent, or how many times as much.
 * @param {number} moved in per cent
 */
const ratio = (moved) => (moved < 900 ? percent(Math.abs(moved)) : `× ${decimal(moved / 100 + 1)}`);

/** @param {any} given */
async function actives({ state, days, daily, rolling, askBoth }) {
  if (state.period === "day") {
    const [day, week, month] = await Promise.all([daily(), rolling(7), rolling(30)]);
    const shown = day.data.filter((/** @type {any} */ each) => each.date >= days.first && !each.no_day);
    /** @param {any} answer */
    const byDay = (answer) => new Map(answer.data.map((/** @type {any} */ each) => [each.to, each.active_users]));
    const weeks = byDay(week), months = byDay(month);
    const certain = shown.filter((/** @type {any} */ each) => each.date < days.today).length;
    /** @type {any[][]} */
    const rows = shown.map((
      /** @type {any} */ { date, dau },
    ) => [date, dau, weeks.get(date) ?? null, months.get(date) ?? null]);
    if (!rows.some((row) => row[1])) return { content: nothing(days), answer: week };
    const names = ["Day", "7 days up to it", "30 days up to it"];
    return {
      content: lineChart(
        rows.map((row) => shortDay(row[0])),
        names.map((name, place) => ({ name, certain, values: rows.map((row) => row[place + 1]) })),
        `Active users of each day from ${longDay(days.first)} to ${longDay(days.last)}. The table has the numbers.`,
      ),
      table: { ...numbered("day", names), rows, formats: [longDay, number, number, number] },
      answer: week,
      file: "active-users",
    };
  }
  const answer = await askBoth("stats/actives", { period: state.period });
  const [now, before] = cut(answer.data, days);
  const rows = now.map((/** @type {any} */ each, /** @type {number} */ place) => [
    each.from,
    each.to,
    each.active_users,
    before[before.length - now.length + place]?.active_users ?? null,
  ]);
  if (!rows.some((/** @type {any[]} */ row) => row[2])) return { content: nothing(days), answer };
  const certain = now.filter((/** @type {any} */ each) => each.complete).length;
  return {
    content: lineChart(
      rows.map((/** @type {any[]} */ row) => span(row[0], row[1], state.period)),
      [
        { name: "Active users", certain, values: rows.map((/** @type {any[]} */ row) => row[2]) },
        { name: "As many periods before", muted: true, values: rows.map((/** @type {any[]} */ row) => row[3]) },
      ],
      `Active users of each ${state.period}. The table has the numbers.`,
    ),
    table: {
      columns: [
        { name: "from" },
        { name: "to" },
        { name: "active users", numeric: true },
        { name: "before", numeric: true },
      ],
      rows,
      formats: [longDay, longDay, number, number],
    },
    answer,
    file: `active-users-by-${state.period}`,
  };
}

/**
 * @param {any} answer
 * @param {Days} days
 * @param {string} period
 */
function lifecycleOf(answer, days, period) {
  const [now] = cut(answer.data, days);
  if (!now.some((/** @type {any} */ each) => each.active_users || each.gone)) return { content: nothing(days), answer };
  const kinds = ["new", "returning", "resurrected", "gone"];
  const certain = now.filter((/** @type {any} */ each) => each.complete).length;
  const rows = now.map((/** @type {any} */ each) => [
    each.from,
    each.to,
    each.previous,
    each.new,
    each.returning,
    each.resurrected,
    each.gone,
    each.active_users,
  ]);
  return {
    content: stackedBars(
      now.map((/** @type {any} */ each) => span(each.from, each.to, period)),
      kinds.map((kind) => ({
        name: kind[0].toUpperCase() + kind.slice(1),
        certain,
        values: now.map((/** @type {any} */ each) => (kind === "gone" ? -each.gone : each[kind])),
      })),
      `New, returning, resurrected and gone users of each ${period}. The table has the numbers.`,
    ),
    table: {
      columns: [{ name: "from" }, { name: "to" }, ...numbers("previous", ...kinds, "active")],
      rows,
      formats: [longDay, longDay, ...Array(6).fill(number)],
    },
    answer,
    file: "lifecycle",
  };
}

/**
 * @param {any} answer
 * @param {any} before
 * @param {Days} days
 */
function topEvents(answer, before, days) {
  if (!answer.data.length) return { content: nothing(days), answer };
  const counts = new Map(before.data.map((/** @type {any} */ each) => [each.event_type, each.count]));
  // A type that an answer does not name may have had events all the same.
  const unnamed = isLimited(before) || counts.has(OTHER_TYPES) ? null : 0;
  /** @type {[string, number, number | null][]} */
  const rows = answer.data.map((/** @type {any} */ each) => [
    each.event_type,
    each.count,
    counts.get(each.event_type) ?? unnamed,
  ]);
  const most = Math.max(...rows.map((row) => row[1]));
  return {
    content: h(
      "ol",
      { class: "bars" },
      rows.slice(0, TYPES).map(([type, count, was]) => {
        const moved = change(count, was);
        const bar = h("span", { class: "bar", "aria-hidden": "true" });
        bar.style.setProperty("--share", String(count / most));
        return h("li", {}, [
          h("span", { class: "name" }, type),
          h("span", { class: "number" }, number(count)),
          h("span", { class: `moved ${moved === null ? "" : moved < 0 ? "down" : "up"}` }, [
            was === null ? "–" : moved === null ? "new" : `${moved < 0 ? "−" : moved < 900 ? "+" : ""}${ratio(moved)}`,
          ]),
          bar,
        ]);
      }),
      rows.length > TYPES && h("li", { class: "more" }, `and ${number(rows.length - TYPES)} more in the table`),
    ),
    table: {
      columns: [{ name: "event type" }, ...numbers("events", "before")],
      rows,
      formats: [String, number, number],
    },
    answer,
    file: "top-events",
  };
}

/**
 * @param {any} answer
 * @param {string} period
 */
function retention(answer, period) {
  const cohorts = answer.cohorts;
  if (!cohorts.some((/** @type {any} */ each) => each.cohort_size)) {
    return { content: empty("Nobody was active in these days."), answer };
  }
  const most = Math.max(...cohorts.map((/** @type {any} */ each) => each.retained.length));
  const after = Array.from({ length: most }, (_, place) => place);
  const columns = [{ name: period[0].toUpperCase() + period.slice(1) }, ...numbers("Users", ...after.map(String))];
  const table = grid(
    `Share of each ${period}'s users who were active so many ${period}s later`,
    columns,
    cohorts.map((/** @type {any} */ cohort) =>
      h("tr", {}, [
        h("th", { scope: "row" }, span(cohort.from, cohort.to, period)),
        h("td", { class: "number", "data-value": cohort.cohort_size }, number(cohort.cohort_size)),
        after.map((place) => heat(cohort.retained[place], cohort)),
      ])
    ),
    "heat",
  );
  return {
    content: scrolling("Retention", table),
    table: {
      columns: [{ name: "from" }, { name: "to" }, ...numbers("users", ...after.map((place) => `${period} ${place}`))],
      rows: cohorts.map((/** @type {any} */ cohort) => [
        cohort.from,
        cohort.to,
        cohort.cohort_size,
        ...after.map((place) => cohort.retained[place]?.retained_users ?? null),
      ]),
      formats: [longDay, longDay, ...Array(most + 1).fill(number)],
    },
    answer,
    file: `retention-by-${period}`,
  };
}

/**
 * @param {any} cell
 * @param {any} cohort
 */
function heat(cell, cohort) {
  if (!cell || !cohort.cohort_size) return h("td", {});
  const shade = Math.round(cell.retention_rate / 10);
  const place = h("td", {
    class: `cell shade-${shade} ${cell.complete ? "" : "open"}`,
    "data-value": cell.retained_users,
    title: `${number(cell.retained_users)} of ${number(cohort.cohort_size)}${cell.complete ? "" : "; not over"}`,
  }, oneDecimal(cell.retention_rate));
  return place;
}

/**
 * @param {any} answer
 * @param {Days} days
 */
function stickiness(answer, days) {
  if (!answer.data.some((/** @type {any} */ day) => day.mau)) return { content: nothing(days), answer };
  const rows = answer.data.map((/** @type {any} */ day) => [day.date, day.dau, day.mau, day.stickiness]);
  const certain = answer.data.filter((/** @type {any} */ day) => day.complete).length;
  return {
    content: lineChart(
      rows.map((/** @type {any[]} */ row) => shortDay(row[0])),
      [{ name: "Stickiness", certain, values: rows.map((/** @type {any[]} */ row) => row[3]) }],
      `Stickiness of each day, ${percent(answer.average ?? 0)} on average. The table has the numbers.`,
      percent,
    ),
    table: { ...numbered("day", ["active", "of 30 days", "%"]), rows, formats: [longDay, number, number, decimal] },
    answer,
    file: "stickiness",
  };
}

/** @param {Context} context */
function sideBySide({ api, state, project, signal }) {
  const days = daysOf(state, project.timezone);
  const query = { project: "*", from: days.first, to: days.last };
  return [
    panel({
      title: "Daily actives of all projects",
      size: "full",
      about: "projects",
      signal,
      load: async () => {
        const answer = await api.get("stats/dau", query, signal);
        const certain = answer.data.filter((/** @type {any} */ day) => day.date < days.today).length;
        const named = answer.projects.map((/** @type {any} */ each) => each.display_name);
        const rows = answer.data.map((/** @type {any} */ day, /** @type {number} */ place) => [
          day.date,
          ...answer.projects.map((/** @type {any} */ each) => each.data[place].dau),
        ]);
        return {
          content: lineChart(
            rows.map((/** @type {any[]} */ row) => shortDay(row[0])),
            named.slice(0, 6).map((/** @type {string} */ name, /** @type {number} */ place) => ({
              name,
              certain,
              values: rows.map((/** @type {any[]} */ row) => row[place + 1]),
            })),
            "Daily actives of each project. The table has the numbers.",
          ),
          table: { ...numbered("day", named), rows, formats: [longDay, ...named.map(() => number)] },
          answer,
          file: "projects-daily-actives",
        };
      },
    }),
    panel({
      title: "Top events of each project",
      size: "full",
      about: "top-events",
      signal,
      load: async () => {
        const answer = await api.get("stats/top-events", { ...query, limit: 5 }, signal);
        const rows = answer.projects.flatMap((/** @type {any} */ each) =>
          each.data.map((/** @type {any} */ type) => [each.display_name, type.event_type, type.count])
        );
        if (!rows.length) return { content: nothing(days), answer };
        const columns = answer.projects.map((/** @type {any} */ each) =>
          h("div", { class: "project" }, [
            h("h3", {}, each.display_name),
            h("ol", {}, [
              each.data.map((/** @type {any} */ type) =>
                h("li", {}, [h("span", {}, type.event_type), h("span", { class: "number" }, number(type.count))])
              ),
            ]),
            !each.data.length && h("p", { class: "soft" }, "No events"),
          ])
        );
        return {
          content: h("div", { class: "projects" }, columns),
          table: {
            columns: [{ name: "project" }, { name: "event type" }, { name: "events", numeric: true }],
            rows,
            formats: [String, String, number],
          },
          answer,
          file: "projects-top-events",
        };
      },
    }),
  ];
}

/**
 * The periods of the range, and those before it.
 * @param {any[]} periods
 * @param {Days} days
 */
function cut(periods, days) {
  return [periods.filter(({ to }) => to >= days.first), periods.filter(({ to }) => to < days.first)];
}

/**
 * Whether there are more types than an answer lists.
 * @param {any} answer
 */
const isLimited = (answer) => answer.data.filter(named).length >= MOST_TYPES;

/** @param {any} row */
const named = ({ event_type: type }) => type !== OTHER_TYPES;

/** @param {Days} days */
function nothing(days) {
  return empty(
    `No events from ${longDay(days.first)} to ${longDay(days.last)}.`,
    h("p", {}, ["Take a longer range, or ", h("a", { href: "#/settings" }, "send the first event"), "."]),
  );
}

/** @param {any[]} days */
const mean = (days) => (days.length ? sum(days, "dau") / days.length : null);

/**
 * @param {any[]} rows
 * @param {string} name
 */
const sum = (rows, name) => rows.reduce((total, row) => total + row[name], 0);

/** @param {...string} names */
const numbers = (...names) => names.map((name) => ({ name, numeric: true }));

/**
 * @param {string} first
 * @param {string[]} names
 */
const numbered = (first, names) => ({ columns: [{ name: first }, ...numbers(...names)] });

/**
 * The same promise for the same arguments.
 * @param {(path: string, query: any) => Promise<any>} ask
 */
function once(ask) {
  /** @type {Map<string, Promise<any>>} */
  const asked = new Map();
  return (/** @type {string} */ path, /** @type {any} */ query) => {
    const key = `${path} ${JSON.stringify(query)}`;
    const promise = asked.get(key) ?? ask(path, query);
    asked.set(key, promise);
    promise.catch(() => asked.delete(key));
    return promise;
  };
}
