// @ts-check

import { copyButton, field, fill, h, select } from "./dom.js";
import { addDays, number, time, today } from "./format.js";
import { empty, problem } from "./panel.js";
import { grid, scrolling } from "./table.js";
import { linesOf, SDKS } from "./sdks.js";
import { readState, writeState } from "./state.js";

/** @typedef {import("./views.js").Context} Context */

const SCOPES = { ingest: "send events", read: "see the numbers", import: "import files", admin: "these settings" };

/** @param {Context} context */
export function show(context) {
  const newKeys = new EventTarget();
  return [keys(context, newKeys), sdks(newKeys), shares(context), projects(context), accounts(context)];
}

/**
 * A part of the settings that loads by itself, and again after a change.
 * @param {string} title
 * @param {AbortSignal} signal
 * @param {(body: HTMLElement, again: () => void) => Promise<void>} load
 */
function card(title, signal, load) {
  const body = h("div", { class: "body" });
  const again = () =>
    load(body, again).catch((error) => {
      if (!signal.aborted) fill(body, problem(error, again));
    });
  fill(body, h("div", { class: "loading" }));
  again();
  return h("section", { class: "card", "aria-label": title }, [h("h2", {}, title), body]);
}

/**
 * A form that changes something, and says what went wrong.
 * @param {string} button
 * @param {Child} content
 * @param {() => Promise<void>} submit
 */
function form(button, content, submit) {
  const told = h("div", {});
  return h("form", {
    onsubmit: async (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      const pressed = /** @type {HTMLButtonElement} */ (event.submitter);
      pressed.disabled = true;
      fill(told);
      try {
        await submit();
      } catch (error) {
        fill(told, problem(error));
      } finally {
        pressed.disabled = false;
      }
    },
  }, [content, h("button", { class: "primary" }, button), told]);
}

/**
 * A button that does something which cannot be taken back, once it is pressed a second time.
 * @param {string} text
 * @param {string} name of what it is about
 * @param {() => Promise<void>} act
 */
function dangerous(text, name, act) {
  const button = h("button", {
    type: "button",
    class: "quiet danger",
    "aria-label": `${text} ${name}`,
    onclick: async () => {
      if (button.dataset.sure === undefined) {
        button.dataset.sure = "";
        button.textContent = `${text}? Press again`;
        button.setAttribute("aria-label", `${text} ${name}? Press again`);
        return;
      }
      button.disabled = true;
      try {
        await act();
      } catch (error) {
        button.replaceWith(problem(error));
      }
    },
  }, text);
  return button;
}

/**
 * @param {string} label
 * @param {string[]} names
 * @param {Child[][]} rows
 */
function table(label, names, rows) {
  const cells = rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell))));
  return scrolling(label, grid(label, names.map((name) => ({ name })), cells));
}

/**
 * A text that is shown this once.
 * @param {string} told
 * @param {string} text
 */
function secret(told, text) {
  return h("div", { class: "secret", role: "status" }, [
    h("p", {}, told),
    h("code", { "data-secret": "" }, text),
    copyButton(text),
  ]);
}

/**
 * @param {Context} context
 * @param {EventTarget} newKeys is told of each new key
 */
function keys(context, newKeys) {
  const { api, session, project, projects, signal } = context;
  // The new key and the lines with it stay when the list is read again.
  const made = h("div", {});
  const list = card("API keys", signal, async (body, again) => {
    const { keys } = await api.get("keys", {}, signal);
    fill(
      body,
      table(
        "API keys",
        ["Name", "May", "Project", "Requests", "Made", ""],
        keys.map((/** @type {any} */ key) => [
          [key.name, h("br"), h("small", {}, key.key_id)],
          key.scopes.join(", "),
          key.project,
          number(key.requests),
          key.created_at ? time(key.created_at) : "–",
          key.revoked_at ? "revoked" : dangerous("Revoke", key.name, async () => {
            await api.send("DELETE", `keys/${key.key_id}`);
            again();
          }),
        ]),
      ),
      newKey(again),
    );
  });

  /** @param {() => void} again */
  function newKey(again) {
    const name = h("input", { required: true, maxlength: "100", autocomplete: "off" });
    const scopes = Object.entries(SCOPES).map(([scope, what]) => ({
      box: h("input", { type: "checkbox", value: scope, checked: scope === "ingest" }),
      text: ` ${scope}: ${what}`,
    }));
    const all = session.principal?.project === "*";
    let reach = project.name;
    const choice = {
      ...Object.fromEntries(projects.map((each) => [each.name, each.display_name])),
      "*": "all projects",
    };
    return h("details", {}, [
      h("summary", {}, "Make another key"),
      form("Make the key", [
        field("Name", name),
        h("fieldset", {}, [
          h("legend", {}, "It may"),
          scopes.map(({ box, text }) => h("div", {}, h("label", {}, [box, text]))),
        ]),
        all && h("p", {}, select("Project of the key", choice, reach, (chosen) => reach = chosen)),
      ], async () => {
        const wanted = scopes.filter(({ box }) => box.checked).map(({ box }) => box.value);
        const key = await api.send("POST", "keys", {
          name: name.value,
          scopes: wanted,
          ...(all ? { project: reach } : {}),
        });
        fill(made, secret(`The key ${key.name}. It is shown this once.`, key.key));
        if (wanted.includes("ingest")) made.append(h("h3", {}, "The first event with it"), firstEvent(key.key));
        newKeys.dispatchEvent(new CustomEvent("key", { detail: key.key }));
        again();
      }),
    ]);
  }

  list.querySelector("h2")?.after(made);
  return list;
}

/** @param {string} key */
function firstEvent(key) {
  const event = {
    event_id: crypto.randomUUID(),
    occurred_at: new Date().toISOString(),
    user_id: "me",
    event_type: "hello",
  };
  const line = `curl -H 'X-API-Key: ${key}' '${new URL("events", document.baseURI)}' -d '${JSON.stringify([event])}'`;
  return h("div", {}, [h("pre", { tabindex: "0" }, line), copyButton(line)]);
}

/** @param {EventTarget} newKeys */
function sdks(newKeys) {
  const lines = h("div", {});
  let key = "KEY", sdk = Object.keys(SDKS)[0];
  const draw = () => {
    const text = linesOf(sdk, document.baseURI, key);
    fill(lines, h("pre", { tabindex: "0" }, text), copyButton(text));
  };
  const choice = Object.fromEntries(Object.keys(SDKS).map((name) => [name, name]));
  newKeys.addEventListener("key", (/** @type {any} */ event) => {
    key = event.detail;
    draw();
  });
  draw();
  return h("section", { class: "card", "aria-label": "SDKs" }, [
    h("h2", {}, "SDKs"),
    h(
      "p",
      { class: "soft" },
      "An SDK that you have sends here with these lines. KEY stands for a key that may send events.",
    ),
    h(
      "p",
      {},
      select("SDK", choice, sdk, (chosen) => {
        sdk = chosen;
        draw();
      }),
    ),
    lines,
  ]);
}

/** @param {Context} context */
function shares(context) {
  const { api, project, signal } = context;
  const made = h("div", {});
  const list = card("Share links", signal, async (body, again) => {
    const { shares } = await api.get("shares", {}, signal);
    fill(body, [
      shares.length
        ? table(
          "Share links",
          ["Name", "View", "Project", "Days", "Ends", ""],
          shares.map((/** @type {any} */ share) => [
            share.name,
            share.view,
            share.project,
            share.days ? `the last ${share.days}` : `${share.from} to ${share.to}`,
            time(share.expires_at),
            dangerous("Revoke", share.name, async () => {
              await api.send("DELETE", `shares/${share.share_id}`);
              again();
            }),
          ]),
        )
        : empty("Nothing is shared. A share link shows one view to whoever has it, without an account, until its end."),
      newShare(again),
    ]);
  });

  /** @param {() => void} again */
  function newShare(again) {
    const now = today(project.timezone);
    const name = h("input", { required: true, maxlength: "100", autocomplete: "off" });
    const days = h("input", { type: "number", min: "1", max: "366", value: "30", required: true });
    const end = h("input", {
      type: "date",
      min: addDays(now, 1),
      max: addDays(now, 365),
      value: addDays(now, 30),
      required: true,
    });
    return h("details", {}, [
      h("summary", {}, `Share the overview of ${project.display_name}`),
      form("Make the link", [
        field("Name", name),
        field("Days", days, "How many days it shows, up to the day on which somebody looks."),
        field("Ends on", end),
      ], async () => {
        const share = await api.send("POST", "shares", {
          name: name.value,
          view: "overview",
          project: project.name,
          days: Number(days.value),
          period: "day",
          expires_at: `${end.value}T00:00:00Z`,
        });
        const link = new URL(document.baseURI);
        link.hash = writeState({ ...readState(""), view: "overview", share: share.token });
        fill(made, secret(`The link ${share.name}. It is shown this once.`, link.href));
        again();
      }),
    ]);
  }

  list.querySelector("h2")?.after(made);
  return list;
}

/** @param {Context} context */
function projects({ api, session, signal }) {
  return card("Projects", signal, async (body, again) => {
    const { projects } = await api.get("projects", {}, signal);
    const name = h("input", { required: true, maxlength: "40", autocomplete: "off" });
    const shown = h("input", { maxlength: "100", autocomplete: "off" });
    const zone = h("input", { required: true, value: Intl.DateTimeFormat().resolvedOptions().timeZone });
    fill(body, [
      table(
        "Projects",
        ["Name", "Shown as", "Timezone", ""],
        projects.map((/** @type {any} */ each) => [
          each.name,
          each.display_name,
          each.timezone,
          session.principal?.project === "*" && each.name !== "default" && dangerous(
            each.archived_at ? "Take events in again" : "Archive",
            each.name,
            async () => {
              await api.send("PATCH", `projects/${each.name}`, { archived: !each.archived_at });
              again();
            },
          ),
        ]),
      ),
      session.principal?.project === "*" && h("details", {}, [
        h("summary", {}, "Make another project"),
        form("Make the project", [
          field("Name", name, "For programs: letters, digits and hyphens. It never changes."),
          field("Shown as", shown),
          field("Timezone", zone, "Its days are those of this timezone. It cannot change once there are events."),
        ], async () => {
          await api.send("POST", "projects", {
            name: name.value,
            ...(shown.value ? { display_name: shown.value } : {}),
            timezone: zone.value,
          });
          again();
        }),
      ]),
    ]);
  });
}

/** @param {Context} context */
function accounts({ api, signal }) {
  return card("Accounts", signal, async (body, again) => {
    const { accounts } = await api.get("accounts", {}, signal);
    const email = h("input", { type: "email", required: true, autocomplete: "off" });
    const password = h("input", { type: "password", required: true, minlength: "12", autocomplete: "new-password" });
    let scope = "read";
    fill(body, [
      accounts.length
        ? table(
          "Accounts",
          ["Email", "Scopes", "Project", "State", ""],
          accounts.map((/** @type {any} */ each) => [
            each.email,
            each.scopes.join(", "),
            each.project,
            each.disabled_at ? `disabled ${time(each.disabled_at)}` : "may log in",
            dangerous(each.disabled_at ? "Enable" : "Disable", each.email, async () => {
              await api.send("POST", `accounts/${each.account_id}/${each.disabled_at ? "enable" : "disable"}`);
              again();
            }),
          ]),
        )
        : empty("There is no account. Whoever has one signs in by email and password, without a key."),
      accounts.map((/** @type {any} */ each) => sessions(each, api, signal)),
      h("details", {}, [
        h("summary", {}, "Make an account"),
        form("Make the account", [
          field("Email", email),
          field("Password", password),
          h(
            "p",
            {},
            select(
              "It may",
              { read: "see the numbers", "read,import": "and import files", "read,import,admin": "do everything" },
              scope,
              (chosen) => scope = chosen,
            ),
          ),
        ], async () => {
          await api.send("POST", "auth/register", {
            email: email.value,
            password: password.value,
            scopes: scope.split(","),
          });
          again();
        }),
      ]),
    ]);
  });
}

/**
 * The sessions of an account, which are asked for when they are opened.
 * @param {any} account
 * @param {Context["api"]} api
 * @param {AbortSignal} signal
 */
function sessions(account, api, signal) {
  const body = h("div", { class: "body" });
  const path = `accounts/${account.account_id}/sessions`;
  const read = async () => {
    try {
      const { sessions } = await api.get(path, {}, signal);
      fill(
        body,
        sessions.length
          ? table(
            `Sessions of ${account.email}`,
            ["Began", "Used last", "Ends", ""],
            sessions.map((/** @type {any} */ each) => [
              each.began_at ? time(each.began_at) : "–",
              each.refreshed_at ? time(each.refreshed_at) : "–",
              time(each.expires_at),
              dangerous("End", "the session", async () => {
                await api.send("DELETE", `${path}/${each.session_id}`);
                await read();
              }),
            ]),
          )
          : h("p", { class: "soft" }, "No session."),
      );
    } catch (error) {
      if (!signal.aborted) fill(body, problem(error, read));
    }
  };
  const shown = h("details", {}, [h("summary", {}, `Sessions of ${account.email}`), body]);
  shown.addEventListener("toggle", () => shown.open && read());
  return shown;
}
