// @ts-check
// Charts by Apache ECharts, in the page's colours. Each stands beside a table of the same numbers.

import { compact, number } from "./format.js";
import { h } from "./dom.js";

/**
 * @typedef {object} Series
 * @property {string} name
 * @property {(number | null)[]} values one for each label
 * @property {number} [certain] the number of values that cannot change by the clock alone; all unless given
 * @property {boolean} [muted]
 */

const COLOURS = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6"];
// The page does not wait for it.
const library = new Promise((loaded, failed) => {
  const script = document.getElementById("charts");
  if (globalThis.echarts) return loaded(undefined);
  script?.addEventListener("load", loaded);
  script?.addEventListener("error", failed);
});
library.catch(() => {}); // Each chart says so itself.
/** @type {Set<() => void>} */
const drawn = new Set();
const dark = matchMedia("(prefers-color-scheme: dark)");
const redraw = () => drawn.forEach((draw) => draw());
dark.addEventListener("change", redraw);
new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });

/**
 * Lines over labels.
 * @param {string[]} labels
 * @param {Series[]} series
 * @param {string} described what a screen reader says
 * @param {(value: number) => string} [format]
 */
export function lineChart(labels, series, described, format = number) {
  return chart(described, () => ({
    ...frame(labels, series.map(({ name }) => name), format),
    series: series.flatMap((each, place) => line(each, colour(each.muted ? "--muted-line" : COLOURS[place]))),
  }));
}

/**
 * Bars on one another, those below zero downwards.
 * @param {string[]} labels
 * @param {Series[]} series
 * @param {string} described
 */
export function stackedBars(labels, series, described) {
  return chart(described, () => ({
    ...frame(labels, series.map(({ name }) => name), (value) => number(Math.abs(value))),
    series: series.map((each, place) => ({
      name: each.name,
      type: "bar",
      stack: "all",
      barMaxWidth: 32,
      itemStyle: { color: colour(COLOURS[place]) },
      data: each.values.map((value, at) => ({
        value,
        itemStyle: at < (each.certain ?? Infinity) ? {} : { opacity: 0.5 },
      })),
    })),
  }));
}

/**
 * A series as a line that is dashed where its values are not final.
 * @param {Series} series
 * @param {string} color
 */
function line(series, color) {
  const certain = series.certain ?? series.values.length;
  const style = {
    name: series.name,
    type: "line",
    symbol: series.values.length > 1 ? "none" : "circle",
    symbolSize: 6,
    color,
    emphasis: { disabled: true },
  };
  const whole = {
    ...style,
    lineStyle: { width: series.muted ? 1.5 : 2.5 },
    data: series.values.map((value, place) => (place < certain ? value : null)),
  };
  if (certain >= series.values.length) return [whole];
  const open = {
    ...style,
    symbol: "circle",
    lineStyle: { width: 2, type: "dashed" },
    data: series.values.map((value, place) => (place >= certain - 1 ? value : null)),
  };
  return [whole, open];
}

/**
 * @param {string[]} labels
 * @param {string[]} names
 * @param {(value: number) => string} format
 */
function frame(labels, names, format) {
  const text = { color: colour("--soft"), fontFamily: getComputedStyle(document.body).fontFamily, fontSize: 12 };
  return {
    animation: false,
    grid: { left: 44, right: 16, top: names.length > 1 ? 36 : 12, bottom: 26 },
    legend: names.length > 1
      ? { data: names, left: 0, top: 0, icon: "roundRect", itemWidth: 12, itemHeight: 4, textStyle: text }
      : undefined,
    tooltip: {
      trigger: "axis",
      renderMode: "richText",
      confine: true,
      backgroundColor: colour("--raised"),
      borderColor: colour("--edge"),
      textStyle: { ...text, color: colour("--ink") },
      formatter: (/** @type {any[]} */ points) => {
        const seen = new Map(points.filter(({ value }) => value !== null).map((each) => [each.seriesName, each.value]));
        return [points[0]?.axisValue, ...[...seen].map(([name, value]) => `${name}: ${format(value)}`)].join("\n");
      },
    },
    xAxis: {
      type: "category",
      data: labels,
      axisLabel: { ...text, hideOverlap: true },
      axisTick: { show: false },
      axisLine: { lineStyle: { color: colour("--edge") } },
    },
    yAxis: {
      type: "value",
      minInterval: 1,
      axisLabel: { ...text, formatter: (/** @type {number} */ value) => compact(Math.abs(value)) },
      splitLine: { lineStyle: { color: colour("--grid") } },
    },
  };
}

/**
 * @param {string} described
 * @param {() => any} options
 */
function chart(described, options) {
  const place = h("div", { class: "chart", role: "img", "aria-label": described });
  /** @type {any} */
  let made = null;
  const draw = () => {
    if (!place.isConnected) {
      made?.dispose();
      drawn.delete(draw);
      sizes.disconnect();
    } else {
      made?.setOption(options(), true);
    }
  };
  const sizes = new ResizeObserver(() => {
    if (!place.clientWidth) return;
    if (made) return made.resize();
    made = globalThis.echarts.init(place, null, { renderer: "canvas" });
    drawn.add(draw);
    draw();
  });
  library.then(
    () => sizes.observe(place),
    () => place.replaceChildren("The chart cannot be drawn. The table has its numbers."),
  );
  return place;
}

/** @param {string} name of a custom property */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
