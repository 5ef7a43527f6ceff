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
 * A table for people. A row has the name that its first cell says.
 * @param {Table} table
 * @param {string} caption
 */
export function tableOf(table, caption) {
  return grid(
    caption,
    table.columns,
    table.rows.map((row) =>
      h(
        "tr",
        { "data-name": row[0] },
        row.map((value, place) => {
          const format = table.formats?.[place] ?? String;
          return h("td", { class: table.columns[place].numeric ? "number" : "", "data-value": value ?? "" }, [
            value === null ? "–" : format(value),
          ]);
        }),
      )
    ),
  );
}

/**
 * A table of rows that are made already.
 * @param {string} caption
 * @param {Column[]} columns
 * @param {Child} rows
 * @param {string} [look] its class
 */
export function grid(caption, columns, rows, look) {
  const heads = columns.map(({ name, numeric }) => h("th", { scope: "col", class: numeric ? "number" : "" }, name));
  return h(
    "table",
    { class: look },
    h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, heads)),
    h("tbody", {}, rows),
  );
}

/**
 * A place that scrolls where what it has is too large, by keys as well.
 * @param {string} label
 * @param {Child} content
 */
export function scrolling(label, content) {
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label }, content);
}

// As rollcall.core.spreadsheets has it: what a text may begin with before a spreadsheet finds a formula in it.
const DROPPED = /[\s\p{Cc}\p{Cf}]/u;

/** @param {string} text */
function startsFormula(text) {
  for (const character of text) {
    if ("\t\r\n".includes(character)) return true;
    const [plain] = character.normalize("NFKC");
    if (!DROPPED.test(character) && !"\"'".includes(plain)) return "=+-@\u2212".includes(plain);
  }
  return false;
}

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
  const text = typeof value === "string" && startsFormula(value) ? `'${value}` : String(value ?? "");
  // Where a comma is in numbers, a spreadsheet takes the semicolon for the end of a cell.
  return /[",;\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
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
