// @ts-check

import { h } from "./dom.js";

/**
 * @typedef {object} Column
 * @property {string} name
 * @property {boolean} [numeric]
 */

/**
 * @typedef {object} Table
 * @property {Column[]} columns
 * @property {(string | number | null)[][]} rows as they are, for a file
 * @property {((value: any) => string)[]} [formats] of each column, for people
 */

/**
 * A table for people.
 * @param {Table} table
 * @param {string} caption
 */
export function tableOf(table, caption) {
  return h(
    "table",
    {},
    h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, table.columns.map(({ name, numeric }) => head(name, numeric)))),
    h(
      "tbody",
      {},
      table.rows.map((row) =>
        h(
          "tr",
          {},
          row.map((value, place) => {
            const format = table.formats?.[place] ?? String;
            const raw = value ?? "";
            return h("td", { class: table.columns[place].numeric ? "number" : "", "data-value": raw }, [
              value === null ? "–" : format(value),
            ]);
          }),
        )
      ),
    ),
  );
}

/**
 * @param {string} name
 * @param {boolean} [numeric]
 */
function head(name, numeric) {
  return h("th", { scope: "col", class: numeric ? "number" : "" }, name);
}

// A spreadsheet runs a text that begins so as a formula.
const FORMULA = /^[=+\-@\t\r]/;

/**
 * A table as CSV (RFC 4180).
 * @param {Table} table
 */
export function csvOf(table) {
  const rows = [table.columns.map(({ name }) => name), ...table.rows];
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** @param {string | number | null} value */
function cell(value) {
  const text = typeof value === "string" && FORMULA.test(value) ? `'${value}` : String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * Has the browser save a file.
 * @param {string} name
 * @param {string} text
 */
export function save(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
