// @ts-check
/**
 * The last 15 minutes in slices, as columns of the same length that are filled anew and never grow. No DOM in here.
 * A slice that nobody measured is null in every column but the time.
 */

/**
 * @typedef {{at: number, accepted: number, stored: number, failed: number, dead: number, p50_ms: number | null,
 *   p99_ms: number | null}} Point  Counts of one slice, which began `at` milliseconds of Unix time.
 * @typedef {(number | null)[]} Column
 */

const KEPT_MS = 15 * 60_000;
const COUNTS = /** @type {const} */ (["accepted", "stored", "failed"]);
const TIMES = /** @type {const} */ (["p50_ms", "p99_ms"]);

export class Slices {
  /** @type {Map<number, Point>} */
  #points = new Map();
  #stepMs = 5_000;
  /** @type {Record<string, Column>} seconds of Unix time; per second; milliseconds */
  columns = { at: [], accepted: [], stored: [], failed: [], p50_ms: [], p99_ms: [] };

  /**
   * @param {number} stepMs
   * @param {Point[]} points
   */
  replace(stepMs, points) {
    // A frame may have been quicker than the answer that does not have it yet.
    const newest = Math.max(...points.map(({ at }) => at), 0);
    const later = [...this.#points.values()].filter(({ at }) => at > newest);
    this.#stepMs = stepMs;
    this.#points.clear();
    for (const point of [...points, ...later]) this.add(point);
  }

  /** @param {Point} point */
  add(point) {
    this.#points.set(Math.floor(point.at / this.#stepMs), point);
  }

  /** Whether anything was measured. */
  get any() {
    return this.#points.size > 0;
  }

  /**
   * Fill the columns with what ends before `now`.
   *
   * @param {number} now milliseconds of Unix time
   */
  fill(now) {
    const count = KEPT_MS / this.#stepMs;
    const last = Math.floor(now / this.#stepMs) - 1;
    const first = last - count + 1;
    for (const slice of this.#points.keys()) if (slice < first) this.#points.delete(slice);
    for (let row = 0; row < count; row += 1) this.#fillRow(row, first + row);
    for (const column of Object.values(this.columns)) column.length = count;
  }

  /**
   * @param {number} row
   * @param {number} slice
   */
  #fillRow(row, slice) {
    const { columns } = this;
    const point = this.#points.get(slice);
    columns.at[row] = (slice * this.#stepMs) / 1000;
    for (const name of COUNTS) columns[name][row] = point ? (point[name] * 1000) / this.#stepMs : null;
    for (const name of TIMES) columns[name][row] = point?.[name] ?? null;
  }
}
