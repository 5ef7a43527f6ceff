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
