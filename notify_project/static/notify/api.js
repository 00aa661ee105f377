// @ts-check
/** Notify's HTTP API from a browser: JSON in and out, and every error as a `Problem`. No DOM in here. */

/** A server that stands still, or a network that is gone, would say nothing for minutes. */
const ANSWER_MS = 30_000;

/**
 * @typedef {{pointer: string, detail: string}} FieldError  One broken rule, and a JSON pointer to where it is.
 */

/** An answer that is an error (RFC 9457), or no answer at all: then `status` is 0. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {string} detail
   * @param {FieldError[]} [errors]
   * @param {number} [retryAfterMs]
   */
  constructor(status, detail, errors = [], retryAfterMs = 0) {
    super(detail);
    this.status = status;
    this.errors = errors;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the same request may succeed later: no answer, too many requests, or trouble on the server's side. */
  get passes() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

/**
 * Ask for a path; resolves to the answer's JSON (undefined: 204, which has none) and rejects with a Problem.
 *
 * @param {string | URL} address
 * @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
export async function call(address, options = {}) {
  let response, text;
  const waiting = new AbortController();
  // What brings a body along, a million lines of it, takes its time.
  const timer = options.body === undefined ? setTimeout(() => waiting.abort(), ANSWER_MS) : undefined;
  try {
    response = await fetch(address, { ...options, cache: "no-store", signal: waiting.signal });
    text = await response.text();
  } catch {
    throw new Problem(0, "The server does not answer.");
  } finally {
    clearTimeout(timer);
  }
  const body = parsed(text);
  if (response.ok && (body !== undefined || response.status === 204)) return body;
  throw problem(response, body);
}

/**
 * Ask in the name of the signed-in member of staff, whose session the browser holds.
 *
 * @param {string} path
 * @param {{method?: string, body?: string | Blob, headers?: Record<string, string>}} [options] a body is JSON, unless
 *   a header says otherwise
 */
export function callAsStaff(path, { method = "GET", body, headers = {} } = {}) {
  /** @type {Record<string, string>} */
  const sent = body === undefined ? { ...headers } : { "Content-Type": "application/json", ...headers };
  if (method !== "GET") sent["X-CSRFToken"] = csrfToken();
  return call(path, { method, body, headers: sent, credentials: "same-origin" });
}

/**
 * Read JSON without changing its numbers: one that a double cannot hold stays as it was written, where the browser
 * knows how (ECMAScript's "JSON.parse source text access").
 *
 * @param {string} text
 */
export function parseExactly(text) {
  /** @type {any} */
  const json = JSON;
  return json.parse(text, (/** @type {string} */ _key, /** @type {any} */ value, /** @type {any} */ context) =>
    typeof value === "number" && json.rawJSON && decimal(String(value)) !== decimal(context.source)
      ? json.rawJSON(context.source)
      : value,
  );
}

/**
 * A number's sign, significant digits and exponent: the same for `1`, `1.0` and `10e-1`.
 *
 * @param {string} text
 */
function decimal(text) {
  const [, sign, whole, fraction = "", exponent = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  if (whole === undefined) return text; // Infinity
  const digits = (whole + fraction).replace(/^0+/, "");
  const significant = digits.replace(/0+$/, "");
  if (significant === "") return `${sign}0`;
  return `${sign}${significant}e${Number(exponent) - fraction.length + digits.length - significant.length}`;
}

/**
 * @param {string} text
 * @returns {any} undefined when it is not JSON
 */
function parsed(text) {
  try {
    return parseExactly(text);
  } catch {
    return undefined;
  }
}

/**
 * @param {Response} response
 * @param {any} body
 */
function problem(response, body) {
  // Whoever is signed out is sent to a page that is no JSON, and there again however often they ask.
  if (response.ok && response.redirected) return new Problem(401, "You are signed out. Sign in, then load this page again.");
  const retryAfterMs = 1000 * Number(response.headers.get("Retry-After") || 0);
  const detail = body?.detail ?? `The server answered ${response.status}, which this page does not understand.`;
  return new Problem(response.ok ? 500 : response.status, detail, body?.errors, retryAfterMs || 0);
}

/** From the cookie, not from the page: signing in again in another tab changes it. */
function csrfToken() {
  return /(?:^|; )csrftoken=([^;]*)/.exec(document.cookie)?.[1] ?? "";
}
