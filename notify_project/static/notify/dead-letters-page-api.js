// @ts-check
/** What the page of the dead letters asks its server, and how it follows what it ordered. No DOM in here. */

import { Problem, callAsStaff } from "./api.js";

/** @typedef {import("./dead-letters-page-words.js").Outcome} Outcome */

/**
 * @typedef {{reason: string, fingerprint: string, dead: number, replaying: number, unreadable: number, newest: string,
 *   oldest: string, types: string[], type_count: number, error: string}} Group
 * @typedef {{dead: number, replaying: number, newest: string | null, more: boolean, groups: Group[]}} Overview
 * @typedef {{at: string, what: string, by: string | null, error: string | null}} Passage
 * @typedef {{id: string, status: string, recipient: string | null, type: string | null, payload: any,
 *   notification: any, readable: boolean, reason: string, error: string, attempts: number, life: number,
 *   first_failed_at: string, last_failed_at: string, replay: string | null, history: Passage[]}} Letter
 * @typedef {{reason?: string, fingerprint?: string, until?: string}} Criteria  What a replay takes.
 */

/** The reasons that may be asked for. One of another release has to do without: a fingerprint is of a reason, too. */
const REASONS = ["invalid", "retries_exhausted", "crash"];
const QUICK_MS = 300;
const SLOW_MS = 2_000;
/** After so long, nobody looks at every step any more. */
const PATIENCE_MS = 30_000;
/** What the server needs long to count is asked for seldom. */
const REST_FACTOR = 10;

/** @returns {Promise<Overview>} */
export function overview() {
  return callAsStaff("/dashboard/letters");
}

/** @returns {Promise<Outcome[]>} without what became of their letters */
export async function replays() {
  return (await callAsStaff("/dashboard/letters/replays")).replays;
}

/**
 * @param {string} order
 * @returns {Promise<Outcome>}
 */
export function outcome(order) {
  return callAsStaff(`/dashboard/letters/replays/${order}`);
}

/**
 * @param {Group} group
 * @returns {Record<string, string>} what all of its letters have in common
 */
export function causeOf({ reason, fingerprint }) {
  return REASONS.includes(reason) ? { reason, fingerprint } : { fingerprint };
}

/**
 * @param {Group} group
 * @param {number} limit
 * @param {string} [cursor]
 * @returns {Promise<{results: Letter[], next: string | null}>} the dead ones of a group, the latest first
 */
export function lettersOf(group, limit, cursor = "") {
  const query = new URLSearchParams({ ...causeOf(group), status: "dead", limit: String(limit), cursor });
  return callAsStaff(`/api/dlq?${query}`);
}

/**
 * @param {string} id
 * @returns {Promise<Letter>}
 */
export function letter(id) {
  // It may come from the page's address.
  return callAsStaff(`/api/dlq/${encodeURIComponent(id)}`);
}

/**
 * Replay one letter, if it did not die again since it was shown.
 *
 * @param {Letter} one
 * @param {string} key of idempotency
 * @param {string} [corrected] JSON
 * @returns {Promise<Letter>}
 */
export function replayOne({ id, life }, key, corrected) {
  // As it was typed: a number that JavaScript cannot hold stays what it is.
  const body = corrected === undefined ? `{"life":${life}}` : `{"life":${life},"notification":${corrected}}`;
  return callAsStaff(`/api/dlq/${id}/replay`, { method: "POST", body, headers: { "Idempotency-Key": key } });
}

/** @param {string} id */
export function discard(id) {
  return callAsStaff(`/api/dlq/${id}`, { method: "DELETE" });
}

/**
 * @param {Criteria} criteria
 * @returns {Promise<number>} how many would be replayed
 */
export async function count(criteria) {
  const body = JSON.stringify({ ...criteria, dry_run: true });
  return (await callAsStaff("/api/dlq/replay", { method: "POST", body })).matched;
}

/**
 * @param {Criteria} criteria
 * @param {string} key of idempotency
 * @param {number} [limit] the oldest so many only
 * @returns {Promise<{id: string, matched: number}>}
 */
export function replayMany(criteria, key, limit) {
  const body = JSON.stringify({ ...criteria, limit });
  return callAsStaff("/api/dlq/replay", { method: "POST", body, headers: { "Idempotency-Key": key } });
}

/**
 * Tell what becomes of a replay's letters until none is on its way; resolves to the last that was told.
 *
 * @param {string} order
 * @param {(outcome: Outcome) => void} tell
 * @param {AbortSignal} signal
 * @param {(problem: Problem) => void} fail told of every problem that passes; one that does not is thrown
 * @returns {Promise<Outcome | null>} null: aborted
 */
export async function follow(order, tell, signal, fail) {
  const began = Date.now();
  while (!signal.aborted) {
    const asked = Date.now();
    let pause = Date.now() - began < PATIENCE_MS ? QUICK_MS : SLOW_MS;
    try {
      const now = await outcome(order);
      if (signal.aborted) return null;
      tell(now);
      if (now.on_the_way === 0) return now;
    } catch (problem) {
      if (signal.aborted) return null;
      if (!(problem instanceof Problem) || !problem.passes) throw problem;
      fail(problem);
      pause = Math.max(problem.retryAfterMs, SLOW_MS);
    }
    await new Promise((resolve) => setTimeout(resolve, Math.max(pause, REST_FACTOR * (Date.now() - asked))));
  }
  return null;
}

/** Not `crypto.randomUUID`, which plain HTTP beyond localhost does not have. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16)).join("-");
}
