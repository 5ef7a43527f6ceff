// @ts-check
// Numbers and dates in the way of the browser's locale. Days are calendar days of a project, so no timezone moves them.

const whole = new Intl.NumberFormat();
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const fixed = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const tenths = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const dayOnly = new Intl.DateTimeFormat(undefined, { timeZone: "UTC", day: "numeric", month: "short" });
const wholeDay = new Intl.DateTimeFormat(undefined, {
  timeZone: "UTC",
  weekday: "short",
  day: "numeric",
  month: "short",
  year: "numeric",
});
const monthOnly = new Intl.DateTimeFormat(undefined, { timeZone: "UTC", month: "short", year: "numeric" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** @param {number} value */
export const number = (value) => whole.format(value);

/** @param {number} value */
export const decimal = (value) => tenths.format(value);

/** @param {number} value */
export const oneDecimal = (value) => fixed.format(value);

/** @param {number} value */
export const compact = (value) => short.format(value);

/** @param {number} value of 100 */
export const percent = (value) => `${tenths.format(value)} %`;

/** @param {string} day */
export const shortDay = (day) => dayOnly.format(date(day));

/** @param {string} day */
export const longDay = (day) => wholeDay.format(date(day));

/** @param {string} time RFC 3339 */
export const time = (time) => moment.format(new Date(time));

/**
 * A span of days as people say it.
 * @param {string} first
 * @param {string} last
 * @param {string} period day, week or month
 */
export function span(first, last, period) {
  if (period === "month") return monthOnly.format(date(first));
  if (first === last) return shortDay(first);
  return dayOnly.formatRange(date(first), date(last));
}

/**
 * How a number stands to the one before, in per cent, or null where there is nothing to compare with.
 * @param {number | null} now
 * @param {number | null} before
 */
export function change(now, before) {
  return now === null || !before ? null : (100 * (now - before)) / before;
}

/** @param {string} day */
function date(day) {
  return new Date(`${day}T00:00:00Z`);
}

/**
 * The day so many days later.
 * @param {string} day
 * @param {number} days
 */
export function addDays(day, days) {
  const moved = date(day);
  moved.setUTCDate(moved.getUTCDate() + days);
  return moved.toISOString().slice(0, 10);
}

/**
 * The number of days from one to another, both inclusive.
 * @param {string} first
 * @param {string} last
 */
export const daysBetween = (first, last) => Math.round((date(last).getTime() - date(first).getTime()) / 86_400_000) + 1;

/**
 * The present day in a timezone. Of a timezone that a browser does not know by this name, it is that of UTC.
 * @param {string} timezone an IANA name
 */
export function today(timezone) {
  const parts = daysIn(timezone).formatToParts(new Date());
  /** @param {string} type */
  const part = (type) => parts.find((each) => each.type === type)?.value ?? "";
  return `${part("year")}-${part("month")}-${part("day")}`;
}

/** @param {string} timezone */
function daysIn(timezone) {
  /** @type {Intl.DateTimeFormatOptions} */
  const options = { year: "numeric", month: "2-digit", day: "2-digit" };
  try {
    return new Intl.DateTimeFormat("en", { ...options, timeZone: timezone });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return new Intl.DateTimeFormat("en", { ...options, timeZone: "UTC" });
  }
}
