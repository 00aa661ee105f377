// @ts-check
/** Durations as people read them. No DOM in here. */

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * How long something took: “12 ms”, “1.02 s”, “2 min 5 s”, “3 h 10 min”, “4 d 2 h”.
 *
 * @param {number} ms
 */
export function duration(ms) {
  if (ms < SECOND) return `${Math.round(ms)} ms`;
  if (ms < 10 * SECOND) return `${(ms / SECOND).toFixed(2)} s`;
  return ms < MINUTE ? `${(ms / SECOND).toFixed(1)} s` : coarse(ms);
}

/**
 * How long something will take, or goes on already, with nothing finer than tenths: it is read while it changes.
 *
 * @param {number} ms
 */
export function running(ms) {
  return ms < MINUTE ? `${(Math.max(0, ms) / SECOND).toFixed(1)} s` : coarse(ms);
}

/** @param {number} ms */
function coarse(ms) {
  const seconds = Math.round(ms / SECOND) * SECOND;
  if (seconds < HOUR) return two(seconds, MINUTE, "min", SECOND, "s");
  return seconds < DAY ? two(seconds, HOUR, "h", MINUTE, "min") : two(seconds, DAY, "d", HOUR, "h");
}

/**
 * @param {number} ms
 * @param {number} large
 * @param {string} largeName
 * @param {number} small
 * @param {string} smallName
 */
function two(ms, large, largeName, small, smallName) {
  const rest = Math.floor((ms % large) / small);
  return `${Math.floor(ms / large)} ${largeName}${rest ? ` ${rest} ${smallName}` : ""}`;
}
