// @ts-check
/** Dead letters as people read them: times, counts, JSON, errors of the API. No DOM in here. */

import { age, until, whole } from "./numbers.js";
import { serverNow } from "./try-clock.js";

/** @typedef {import("./api.js").Problem} Problem */
/** @typedef {import("./api.js").FieldError} FieldError */

/**
 * @typedef {{id: string, by: string, at: string, what: string, letters: number, stored: number, dead: number,
 *   on_the_way: number, letter: string | null, event: InFlight | null}} Outcome  What became of a replay's letters.
 * @typedef {{id: string, status: string, attempts: number, last_error: string | null,
 *   next_attempt_at: string | null}} InFlight  Where the event of a single letter is.
 * @typedef {{text: string, state: string, detail: string}} Fate  A sentence, a state for its colour, and an error.
 */

const NOW_MS = 1_000;
/** What could make a line read otherwise than it is: controls, marks of direction, what has no width. */
const UNSEEN = /[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

export const SIGNED_OUT = "You are signed out. Load this page again to sign in.";

/** What helps, by reason. @type {Record<string, string>} */
export const ADVICE = {
  invalid: "It can never succeed as it is: open a letter, edit it, and replay it as corrected.",
  retries_exhausted: "Every attempt failed. Remove the cause, then replay one of them first.",
  crash: "Three workers died with each of these in hand. Find out why before you replay: it may kill three more.",
};

export const UNREADABLE =
  "This release cannot read them, so they cannot be replayed as they are: open one, and write what it should have been.";

/** By `what` of a line in a letter's history. @type {Record<string, string>} */
export const PASSAGES = {
  died: "Died",
  ordered: "Replay ordered",
  replayed: "Back in the stream",
  edited: "Edited",
  discarded: "Discarded",
  unreadable: "Put back: it cannot be read",
  stored: "Stored after all",
};

/** @param {string} moment RFC 3339 */
export function ago(moment) {
  const gone = serverNow() - Date.parse(moment);
  return gone < NOW_MS ? "just now" : `${age(Math.floor(gone / 1000) * 1000).replace(".0", "")} ago`;
}

/** @param {number} count */
export function letters(count) {
  return count === 1 ? "1 letter" : `${whole(count)} letters`;
}

/** @param {string} text its first line that says something */
export function firstLine(text) {
  return text.split("\n").find((line) => line.trim() !== "") ?? "no error is known";
}

/**
 * JSON over several lines, with what nobody sees written as escapes; a text that is no JSON, as it is.
 *
 * @param {any} value
 */
export function pretty(value) {
  if (typeof value === "string") return value;
  return JSON.stringify(value, null, 2).replace(UNSEEN, escaped);
}

/** @param {string} character */
function escaped(character) {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/**
 * What went wrong, and what to do next.
 *
 * @param {Problem} problem
 */
export function trouble(problem) {
  if (problem.status === 401) return SIGNED_OUT;
  if (problem.status === 403) return `${problem.message} Load this page again, or ask for the permission.`;
  if (problem.status === 404) return "There is no such letter any more. Close this, and choose another one.";
  const errors = problem.errors.map((error) => `${error.pointer} ${error.detail}.`).join(" ");
  const next = problem.passes ? " Press it again in a moment: nothing is done twice." : "";
  return `${problem.message} ${errors}${next}`.replace(/\s+/g, " ").trim();
}

/**
 * A broken rule with the name of its field.
 *
 * @param {FieldError} error
 * @returns {{field: string, text: string}} field: "" where it is the whole notification
 */
export function fieldError({ pointer, detail }) {
  const [, root = "", field = "", ...inside] = pointer.split("/");
  const place = root === "notification" ? [field, ...inside].filter(Boolean).join("/") : pointer;
  return { field: root === "notification" ? field : "", text: `${place || "It"} ${detail}` };
}

/**
 * What became of one letter.
 *
 * @param {Outcome} outcome
 * @param {string} error of the letter, if it died again
 * @returns {Fate}
 */
export function fateOfOne({ stored, dead, event }, error) {
  if (stored) return { text: "Stored: its recipient has it.", state: "ok", detail: "" };
  if (dead) return { text: "Dead again.", state: "dead", detail: error };
  if (event?.status !== "retrying") return { text: "On its way …", state: "connecting", detail: "" };
  const next = event.next_attempt_at ? `, next ${until(Date.parse(event.next_attempt_at) - serverNow())}` : "";
  const failed = event.attempts === 1 ? "1 attempt failed" : `${event.attempts} attempts failed`;
  return { text: `${failed}${next}.`, state: "behind", detail: event.last_error ?? "" };
}

/**
 * What became of many: “7 of 12 stored, 2 dead again, 3 on the way”.
 *
 * @param {Outcome} outcome
 */
export function outcomeOfMany({ letters: all, stored, dead, on_the_way: moving }) {
  const parts = [`${whole(stored)} of ${whole(all)} stored`];
  if (dead) parts.push(`${whole(dead)} dead again`);
  if (moving) parts.push(`${whole(moving)} on the way`);
  return parts.join(", ");
}
