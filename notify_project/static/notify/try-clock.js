// @ts-check
/** The server's clock, as well as a browser can know it: what counts down to the server's times goes by it. */

/** Less is the way there and back, and no clock that goes wrong. */
const LEAST_MS = 1_000;

let ahead = 0;

/** Now, in Unix ms by the server's clock. */
export function serverNow() {
  return Date.now() + ahead;
}

/**
 * The server has just made an id, which has its time in it, as every UUIDv7.
 *
 * @param {string} id
 */
export function heard(id) {
  told(parseInt(id.replace("-", "").slice(0, 12), 16));
}

/** @param {number} ms in Unix time, what the server's clock has just said */
export function told(ms) {
  const difference = ms - Date.now();
  ahead = Math.abs(difference) > LEAST_MS ? difference : 0;
}

/**
 * @param {number} ms
 * @returns {Promise<void>}
 */
export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
