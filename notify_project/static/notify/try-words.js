// @ts-check
/** Spans of time and states in words, for what was tried. No DOM in here. */

/**
 * @typedef {{id: string, recipient: string, status: string, accepted_at: string, stored_at: string | null,
 *   attempts: number, last_error: string | null, next_attempt_at: string | null, source_id: string | null}} Life
 *   A notification and its life, as `GET /api/notifications/{id}` tells it.
 */

const NAMED_FAILURES = 3;
const NO_END = /[^.!?…]$/;

/** What is queued for longer has to be explained. */
export const GROWN_OLD_MS = 2_000;

/** What a state looks like; what is not here has nothing to say. See `.state` in shell.css. */
export const TONES = /** @type {Record<string, string>} */ ({
  stored: "ok",
  done: "ok",
  fired: "ok",
  running: "live",
  sending: "live",
  retrying: "behind",
  waiting: "behind",
  paused: "paused",
  dead: "dead",
  failed: "dead",
});

/**
 * How long something took: `12 ms`, `6.4 s`, `2 min 5 s`.
 *
 * @param {number} ms
 */
export function took(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : until(ms);
}

/**
 * How long it is until something, in its two largest units: `4 s`, `1 h 5 min`.
 *
 * @param {number} ms
 */
export function until(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  /** @type {[number, string][]} */
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0 s";
  const shown = parts.slice(first, first + 2).filter(([count]) => count > 0);
  return shown.map(([count, unit]) => `${count} ${unit}`).join(" ");
}

/**
 * What happened to a notification so far, a word or two a step.
 *
 * @param {Life} life
 * @returns {string[]}
 */
export function steps({ status, attempts }) {
  if (status === "scheduled" || status === "cancelled") return [];
  const failures = attempts - (status === "stored" ? 1 : 0);
  const failed =
    failures <= NAMED_FAILURES
      ? Array.from({ length: failures }, (_, index) => `attempt ${index + 1} failed`)
      : [`attempts 1 to ${failures} failed`];
  const now = status === "stored" && failures > 0 ? `stored at attempt ${attempts}` : status;
  return ["accepted", ...failed, now];
}

/**
 * How a notification is, in a sentence or two.
 *
 * @param {Life} life
 * @param {number} now Unix ms, by the server's clock
 */
export function story(life, now) {
  const age = now - Date.parse(life.accepted_at);
  const error = life.last_error ? `The error: ${sentence(life.last_error)}` : "";
  if (life.status === "stored") return `Stored ${took(stayed(life))} after it was accepted.`;
  if (life.status === "dead") return `Given up after ${times(life.attempts)}. ${error}`;
  if (life.status === "retrying") return `${nextAttempt(life, now)} ${error}`;
  if (life.status === "cancelled") return "Cancelled: it is never sent.";
  if (life.status !== "queued") return "";
  if (age < GROWN_OLD_MS) return "On its way.";
  return `Not stored for ${until(age)}: it waits for a worker, or one has it in hand.`;
}

/**
 * How long a stored notification was under way, in ms.
 *
 * @param {{accepted_at: string, stored_at: string | null}} life
 */
export function stayed({ accepted_at, stored_at }) {
  return Math.max(0, Date.parse(stored_at ?? "") - Date.parse(accepted_at));
}

/**
 * @param {Life} life
 * @param {number} now
 */
function nextAttempt({ attempts, next_attempt_at }, now) {
  const left = Date.parse(next_attempt_at ?? "") - now;
  return left > 0 ? `Attempt ${attempts + 1} in ${until(left)}.` : `Attempt ${attempts + 1} is due.`;
}

/** @param {number} attempts */
function times(attempts) {
  return attempts === 1 ? "one attempt" : `${attempts} attempts`;
}

/**
 * A text as a sentence: it begins with a capital and has an end.
 *
 * @param {string} text
 */
export function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${NO_END.test(text) ? "." : ""}`;
}
