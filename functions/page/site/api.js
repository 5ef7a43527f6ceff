// @ts-check

/** An answer that is not the wanted one. */
export class ApiError extends Error {
  /**
   * @param {number} status 0 where no answer came
   * @param {string} code
   * @param {string} message
   */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** @typedef {Record<string, string | number | string[] | null | undefined>} Query */

// A caller has few places for questions that take long, and each at once may have to wait for an instance to start.
const AT_ONCE = 2;
const TRIES = 4;

/** The API of the stack that served the page. */
export class Api {
  /** @type {(stale: string) => Promise<string>} */
  #token;
  #running = 0;
  /** @type {(() => void)[]} */
  #waiting = [];

  /** @param {(stale: string) => Promise<string>} token gives an access token, another one than the stale one */
  constructor(token) {
    this.#token = token;
  }

  /**
   * What a route answers. The answer is refused as `ApiError`.
   * @param {string} path
   * @param {Query} [query]
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>}
   */
  async get(path, query = {}, signal) {
    await this.#place(signal);
    try {
      for (let tried = 1;; tried += 1) {
        try {
          return await this.#ask("GET", path, query, undefined, signal);
        } catch (error) {
          const again = error instanceof ApiError && [429, 503].includes(error.status) && tried < TRIES;
          if (!again) throw error;
          await pause(500 * 2 ** tried, signal);
        }
      }
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }

  /**
   * What a route answers to a request that changes something; null where it answers without a body.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @param {Query} [query]
   * @returns {Promise<any>}
   */
  send(method, path, body, query = {}) {
    return this.#ask(method, path, query, body);
  }

  /** @param {AbortSignal} [signal] */
  async #place(signal) {
    while (this.#running >= AT_ONCE) {
      await new Promise((go) => this.#waiting.push(() => go(undefined)));
    }
    if (signal?.aborted) {
      this.#waiting.shift()?.();
      throw signal.reason;
    }
    this.#running += 1;
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {Query} query
   * @param {unknown} body
   * @param {AbortSignal} [signal]
   */
  async #ask(method, path, query, body, signal) {
    let token = await this.#token("");
    let answer = await request(method, path, query, body, { Authorization: `Bearer ${token}` }, signal);
    if (answer.status === 401) {
      token = await this.#token(token);
      answer = await request(method, path, query, body, { Authorization: `Bearer ${token}` }, signal);
    }
    return await contentOf(answer);
  }
}

/**
 * Sends a request to a path below the page's own address.
 * @param {string} method
 * @param {string} path
 * @param {Query} query
 * @param {unknown} body of JSON
 * @param {Record<string, string>} headers
 * @param {AbortSignal} [signal]
 */
export async function request(method, path, query, body, headers, signal) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "") url.searchParams.append(name, String(each));
    }
  }
  /** @type {RequestInit} */
  const init = { method, headers, signal, cache: "no-store", redirect: "error", referrerPolicy: "no-referrer" };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { ...headers, "Content-Type": "application/json" };
  }
  try {
    return await fetch(url, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "unreachable", "The API cannot be reached. Check the connection and try again.");
  }
}

/**
 * The JSON of an answer. An answer that is no success is thrown as `ApiError`.
 * @param {Response} answer
 */
export async function contentOf(answer) {
  if (answer.status === 204) return null;
  const content = await answer.json().catch(() => null);
  if (answer.ok) return content;
  const code = content?.code ?? "unknown";
  throw new ApiError(answer.status, code, content?.message ?? `The API answered ${answer.status}.`);
}

/**
 * @param {number} milliseconds
 * @param {AbortSignal} [signal]
 */
export function pause(milliseconds, signal) {
  return new Promise((go, stop) => {
    const timer = setTimeout(go, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      stop(signal.reason);
    }, { once: true });
  });
}
