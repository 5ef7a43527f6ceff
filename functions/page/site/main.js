// @ts-check

import { add, announce, fill, h } from "./dom.js";
import { Api, ApiError } from "./api.js";
import { addDays, today } from "./format.js";
import { keep, kept } from "./kept.js";
import { empty, problem } from "./panel.js";
import { pickers } from "./pickers.js";
import { readState, writeState } from "./state.js";
import { Session } from "./session.js";
import { signIn } from "./view_sign_in.js";
import { VIEWS } from "./views.js";

// A link to a fragment is relative to <base>. At an address without the slash, each would load the page anew.
if (!location.pathname.endsWith("/")) history.replaceState(null, "", document.baseURI + location.hash);

const session = new Session();
const api = new Api((stale) => session.token(stale));
const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const navigation = /** @type {HTMLElement} */ (document.getElementById("navigation"));
/** @type {import("./views.js").Project[]} */
let projects = [];
let shown = new AbortController();

/** @param {unknown} [error] */
function askWho(error) {
  shown.abort();
  fill(navigation);
  document.title = "Sign in – Rollcall";
  fill(main, signIn(session, start, error));
}

/** Loads what every view needs, and shows one. */
async function start() {
  if (!session.principal) return askWho();
  try {
    projects = await readProjects();
    await show();
  } catch (error) {
    fill(main, problem(error, start));
  }
}

/** The projects that the caller may read. */
async function readProjects() {
  const { project, share, scopes } = /** @type {import("./session.js").Principal} */ (session.principal);
  if (share) return [await sharedProject(share)];
  if (!scopes.includes("read")) {
    if (project === "*" && scopes.includes("admin")) return (await api.get("projects")).projects;
    const name = project === "*" ? "default" : project;
    return [{ name, display_name: name, timezone: "UTC" }];
  }
  const day = today("UTC");
  const answer = await api.get("stats/dau", { from: day, to: day, project });
  if (project !== "*") return [{ name: project, display_name: project, timezone: answer.timezone }];
  return answer.projects.map((/** @type {any} */ each) => ({
    name: each.project,
    display_name: each.display_name,
    timezone: each.timezone,
  }));
}

/**
 * The project of a share. Its days are those of the project, whose timezone an answer tells, so the present day may be
 * the one before or after that of UTC.
 * @param {any} share
 */
async function sharedProject(share) {
  const now = today("UTC");
  const days = share.from ? [share.from] : [now, addDays(now, 1), addDays(now, -1)];
  for (const day of days) {
    const asked = { from: day, to: day, project: share.project, segment: share.segment };
    try {
      const { timezone } = await api.get("stats/dau", asked);
      return { name: share.project, display_name: share.project, timezone };
    } catch (error) {
      if (!(error instanceof ApiError && error.code === "not_shared") || day === days.at(-1)) throw error;
    }
  }
  throw new Error("a share has days");
}

/** Shows what the address names. */
async function show() {
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  const principal = session.principal;
  if (!principal) return askWho();
  const state = readState(location.hash);
  const seen = principal.share
    ? VIEWS.filter(({ name }) => name === principal.share.view)
    : VIEWS.filter(({ scope }) => principal.scopes.includes(scope));
  const view = seen.find(({ name }) => name === state.view) ?? seen[0];
  if (!view) {
    chrome(seen, "", state);
    return fill(main, empty("This credential may see nothing here. It has none of the scopes read, import and admin."));
  }
  if (principal.share) Object.assign(state, sharedState(principal.share));
  const left = navigation.contains(document.activeElement);
  const unknown = state.project && state.project !== "*" && !projects.some(({ name }) => name === state.project);
  if (unknown) {
    const [{ name, display_name }] = projects;
    chrome(seen, view.name, { ...state, project: name });
    const other = h("a", { href: writeState({ ...state, project: name }) }, `Show ${display_name}`);
    return fill(main, empty(`There is no project ${state.project}, or you may not see it.`, h("p", {}, other)));
  }
  const all = state.project === "*" && view.picks && projects.length > 1;
  const project = projects.find(({ name }) => name === state.project) ?? projects[0];
  Object.assign(state, { view: view.name, project: all ? "*" : project.name });
  const moved = document.title !== `${view.title} – Rollcall`;
  document.title = `${view.title} – Rollcall`;
  chrome(seen, view.name, state);
  /** @type {import("./views.js").Context} */
  const context = { api, session, state, project, projects, signal, go };
  try {
    const { show } = await view.load();
    if (signal.aborted) return;
    const content = h("div", { class: "content" });
    const heading = h("h1", { tabindex: "-1" }, principal.share ? principal.share.name || view.title : view.title);
    const chosen = pickers(context, view);
    const focused = main.querySelector(".pickers")?.contains(document.activeElement) ? document.activeElement : null;
    fill(main, [h("div", { class: "top" }, [heading, chosen]), content]);
    // What is shown anew has the focus that it had, so that keys go on where they were.
    if (focused) (sameAs(focused, chosen) ?? heading).focus();
    else if (left) heading.focus();
    add(content, show(context));
    if (moved) announce(`${view.title} is shown.`);
  } catch (error) {
    if (!signal.aborted) fill(main, problem(error, show));
  }
}

/**
 * What a form has in the place of an element that another one had.
 * @param {Element} element
 * @param {HTMLElement} form
 * @returns {HTMLElement | undefined}
 */
function sameAs(element, form) {
  const called = (/** @type {Element} */ each) => each.getAttribute("aria-label") ?? each.textContent;
  const among = /** @type {NodeListOf<HTMLElement>} */ (form.querySelectorAll("button, input, select"));
  return [...among].find((each) => called(each) === called(element));
}

/** @param {any} share */
function sharedState(share) {
  return {
    project: share.project,
    segment: share.segment ?? [],
    ...(share.days ? { range: `${share.days}d` } : { range: "custom", from: share.from, to: share.to }),
  };
}

/** @param {Partial<import("./state.js").State>} change */
function go(change) {
  location.hash = writeState({ ...readState(location.hash), ...change });
}

/**
 * The names of the views, and what is about all of them.
 * @param {import("./views.js").View[]} seen
 * @param {string} current
 * @param {import("./state.js").State} state
 */
function chrome(seen, current, state) {
  const principal = /** @type {import("./session.js").Principal} */ (session.principal);
  if (principal.share) return fill(navigation);
  fill(navigation, [
    h("a", { class: "brand", href: "#/overview" }, "Rollcall"),
    h(
      "ul",
      {},
      seen.map(({ name, title }) => {
        const href = writeState({ ...state, view: name });
        return h("li", {}, h("a", { href, "aria-current": name === current ? "page" : null }, title));
      }),
    ),
    h("div", { class: "foot" }, [
      themeButton(),
      h("button", {
        type: "button",
        class: "quiet",
        onclick: async () => {
          try {
            await session.signOut();
            location.hash = "";
            askWho();
          } catch (error) {
            fill(main, problem(error));
          }
        },
      }, "Sign out"),
    ]),
  ]);
}

const THEMES = { auto: "Colours: system", light: "Colours: light", dark: "Colours: dark" };
const THEME = "rollcall-theme";

function themeButton() {
  const names = /** @type {(keyof THEMES)[]} */ (Object.keys(THEMES));
  let present = names.find((name) => name === document.documentElement.dataset.theme) ?? "auto";
  const button = h("button", {
    type: "button",
    class: "quiet",
    onclick: () => {
      present = names[(names.indexOf(present) + 1) % names.length];
      keep(THEME, present);
      document.documentElement.dataset.theme = present;
      button.textContent = THEMES[present];
    },
  }, THEMES[present]);
  document.documentElement.dataset.theme = present;
  return button;
}

// A fragment names what the page shows, so it cannot lead to a place in the page.
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
document.documentElement.dataset.theme = kept(THEME) ?? "auto";
session.onend = (/** @type {ApiError} */ error) => {
  if (!session.share) return askWho(error);
  shown.abort();
  fill(main, problem(error));
};
session.onchange = () => location.reload();
addEventListener("hashchange", () => {
  // A link that signs in, or that shows something else to whoever has it, was opened where the page is open already.
  if (codeOf(location.hash) || readState(location.hash).share !== session.share) location.reload();
  else if (session.principal) show();
});

/** @param {string} fragment */
function codeOf(fragment) {
  return new URLSearchParams(fragment.slice(1)).get("code");
}

/** Signs in by the address, if it says so, or by the cookie. */
async function enter() {
  // The view is fetched meanwhile.
  (VIEWS.find(({ name }) => name === readState(location.hash).view) ?? VIEWS[0]).load();
  const code = codeOf(location.hash);
  const { share } = readState(location.hash);
  try {
    if (share) {
      await session.open(share);
      const period = session.principal?.share.period;
      const begins = !/[?&#]period=/.test(location.hash);
      if (period && begins) history.replaceState(null, "", writeState({ ...readState(location.hash), period }));
    } else if (code) {
      // The code is good for once, and no address should show it any more.
      history.replaceState(null, "", "#/overview");
      await session.signIn({ code }).catch(async (error) => {
        // Whoever opens the link again is signed in by it already.
        await session.resume();
        if (!session.principal) throw error;
      });
    } else await session.resume();
  } catch (error) {
    return share ? fill(main, problem(error)) : askWho(error);
  }
  await start();
}

enter();
