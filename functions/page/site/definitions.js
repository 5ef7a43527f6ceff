// @ts-check
// What the numbers of the page mean, in short. docs/numbers.md has the whole of it, by the definition's id.

/** @type {Record<string, string[]>} */
export const DEFINITIONS = {
  "daily-actives": [
    "A user with at least one event on a day is active on it.",
    "This is the mean of the days of the range that are over.",
  ],
  "weekly-actives": ["The users with at least one event in the seven days up to the last day that is over."],
  "monthly-actives": ["The users with at least one event in the thirty days up to the last day that is over."],
  events: ["All events of the range that are counted, each once, by the id that its sender gave it."],
  actives: [
    "The users with at least one event in each day, week or month. A user of several days of it counts once.",
    "A dashed end is a period that is not over.",
  ],
  lifecycle: [
    "New users were never seen before. Returning ones were active in the period before, too.",
    "Resurrected users were seen before, but not in the period before. Gone ones were active in the period before only.",
    "Previous − gone + new + resurrected is the number of active users.",
  ],
  "new-users": ["The users whose first event of all is in the range."],
  "top-events": ["The event types with the most events in the range, against as many days before it."],
  retention: [
    "A row is everybody who was active in a period. A cell is the share of them who were active so many periods later.",
    "A pale cell's period is not over.",
  ],
  stickiness: [
    "Of the users of the thirty days up to each day, the share that is active on the day.",
    "20 % means that the users come on six days of thirty.",
  ],
  "projects": ["The active users of each project, by the days of its timezone. Users are not joined across projects."],
};
