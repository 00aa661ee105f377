// @ts-check
/** Where the token of an inbox comes from. No DOM in here. */

import { call, Problem } from "./api.js";

/** @typedef {import("./inbox.js").Token} Token */

/** There is no token, and asking again would not help. */
export class NoToken extends Error {
  /** @param {"noToken" | "tokenExpired"} reason */
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

/**
 * Ask the page's own server, which knows by its own cookies who asks. Rejects with a Problem.
 *
 * @param {string} address
 * @param {string} method
 * @returns {Promise<Token>}
 */
export async function fetchToken(address, method) {
  const answer = await call(new URL(address, document.baseURI), { method, credentials: "same-origin" });
  if (typeof answer?.token !== "string") throw new Problem(400, `There is no "token" in the answer of ${address}.`);
  return answer;
}

/**
 * The token in what a page's own function gave.
 *
 * @param {any} answer
 * @returns {string}
 */
export function tokenIn(answer) {
  if (typeof answer?.token === "string") return answer.token;
  // As the JSON of an outage has none: it is asked again.
  throw new Error(answer?.detail ?? 'There is no "token" in what getToken gave.');
}

/**
 * A token that the page was given with: there is no other after it.
 *
 * @param {string} token
 * @returns {() => Promise<Token>}
 */
export function onlyOnce(token) {
  let given = false;
  return async () => {
    if (given) throw new NoToken("tokenExpired");
    given = true;
    return { token, expires_at: "" };
  };
}
