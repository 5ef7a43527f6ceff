// @ts-check
// Who is signed in. The access token is in memory alone; the browser keeps a cookie that no script can read.

import { ApiError, contentOf, pause, request } from "./api.js";
import { keep, kept } from "./kept.js";

/**
 * @typedef {object} Principal
 * @property {string} name
 * @property {"account" | "key" | "share"} kind
 * @property {string[]} scopes
 * @property {string} project a project's name, or * for all
 * @property {any} share what a share link shows
 */

// A page of another origin cannot send this header.
const OF_PAGE = { "X-Rollcall-Page": "1" };
// Whether there may be a cookie, so that nobody is asked for one who never signed in.
const SIGNED_IN = "rollcall-signed-in";
const EARLY_MILLISECONDS = 30_000;
const TRIES = 4;

export class Session {
  /** @type {Principal | null} */
  principal = null;
  #token = "";
  #until = 0;
  #share = "";
  /** @type {Promise<void> | null} */
  #renewal = null;
  /**
   * Called when the session has ended without being asked to.
   * @type {(error: ApiError) => void}
   */
  onend = () => {};
  /** Called when another tab has signed somebody else in. */
  onchange = () => {};

  /** @param {{email: string, password: string} | {key: string} | {code: string}} credential */
  async signIn(credential) {
    this.#share = "";
    this.#take(await contentOf(await request("POST", "auth/session", {}, credential, OF_PAGE)));
    keep(SIGNED_IN, "1");
  }

  /** The token of the share link that was opened; empty where none was. */
  get share() {
    return this.#share;
  }

  /** @param {string} share token of a share link */
  async open(share) {
    this.#share = share;
    this.#take(await contentOf(await patiently(() => request("POST", "auth/session", {}, { share }, OF_PAGE))));
  }

  /** Goes on with the session of the cookie, if there is one. */
  async resume() {
    if (kept(SIGNED_IN) === null) return;
    try {
      await this.#renew();
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 401)) throw error;
    }
  }

  async signOut() {
    const ended = await request("DELETE", "auth/session", {}, undefined, OF_PAGE);
    if (ended.status !== 401) await contentOf(ended);
    this.#forget();
  }

  /**
   * A valid access token.
   * @param {string} stale a token that was refused
   */
  async token(stale) {
    if (this.#token === stale || Date.now() > this.#until) {
      this.#renewal ??= this.#renew().finally(() => this.#renewal = null);
      try {
        await this.#renewal;
      } catch (error) {
        if (error instanceof ApiError && error.status === 401) this.onend(error);
        throw error;
      }
    }
    return this.#token;
  }

  async #renew() {
    if (this.#share) return await this.open(this.#share);
    // The cookie changes at each renewal, and the tabs of a browser have one cookie.
    await navigator.locks.request("rollcall-session", async () => {
      const answer = await patiently(() => request("POST", "auth/session/refresh", {}, undefined, OF_PAGE));
      if (answer.status === 401) this.#forget();
      const before = this.principal;
      this.#take(await contentOf(answer));
      if (before && JSON.stringify(before) !== JSON.stringify(this.principal)) this.onchange();
    });
  }

  /** @param {any} answer */
  #take(answer) {
    this.#token = answer.access_token;
    this.#until = Date.now() + 1000 * answer.expires_in - EARLY_MILLISECONDS;
    this.principal = answer.principal;
  }

  #forget() {
    keep(SIGNED_IN, null);
    this.principal = null;
    this.#token = "";
  }
}

/**
 * Sends a request again while the stack is too busy for it. Many people may have one address.
 * @param {() => Promise<Response>} send
 */
async function patiently(send) {
  for (let tried = 1;; tried += 1) {
    const answer = await send();
    if (![429, 503].includes(answer.status) || tried === TRIES) return answer;
    await pause(1000 * 2 ** tried);
  }
}
