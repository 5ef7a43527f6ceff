// @ts-check

import { field, fill, h } from "./dom.js";
import { problem } from "./panel.js";

/**
 * Asks who is there.
 * @param {import("./session.js").Session} session
 * @param {() => void} done
 * @param {unknown} [error] why somebody is not signed in
 */
export function signIn(session, done, error) {
  const told = h("div", {}, error ? problem(error) : null);
  const email = h("input", { type: "email", autocomplete: "username", required: true });
  const password = h("input", { type: "password", autocomplete: "current-password", required: true });
  const key = h("input", { type: "password", autocomplete: "off", required: true, spellcheck: "false" });

  /** @param {() => {email: string, password: string} | {key: string}} credential */
  const submit = (credential) => async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const button = /** @type {HTMLButtonElement} */ (event.submitter);
    button.disabled = true;
    try {
      await session.signIn(credential());
      done();
    } catch (error) {
      fill(told, problem(error));
    } finally {
      button.disabled = false;
    }
  };
  return h("div", { class: "sign-in" }, [
    h("h1", {}, "Rollcall"),
    told,
    h("form", { onsubmit: submit(() => ({ email: email.value, password: password.value })) }, [
      h("h2", {}, "Sign in"),
      field("Email", email),
      field("Password", password),
      h("button", { class: "primary" }, "Sign in"),
    ]),
    h("form", { onsubmit: submit(() => ({ key: key.value.trim() })) }, [
      h("h2", {}, "Or with an API key"),
      field("API key", key, "A key with the scope read shows the numbers; one with admin also the settings."),
      h("button", {}, "Sign in with the key"),
    ]),
  ]);
}
