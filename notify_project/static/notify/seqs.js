// @ts-check
/**
 * Which notifications of an inbox a client has, by their `seq`. An inbox gives out `seq` without a gap, so whatever
 * lies between two that are here is missing. No DOM and no network in here.
 */
export class Seqs {
  /** Everything up to here was taken; null as long as nothing is known of the inbox. @type {number | null} */
  #last = null;
  /** Taken beyond a gap. @type {Set<number>} */
  #ahead = new Set();

  /** Whether the inbox was ever heard of. */
  get known() {
    return this.#last !== null;
  }

  /** The last seq up to which nothing is missing. */
  get last() {
    return this.#last ?? 0;
  }

  /** The greatest seq taken. */
  get newest() {
    return Math.max(this.last, ...this.#ahead);
  }

  /** Whether something is missing between those that were taken. */
  get hasGap() {
    return this.#ahead.size > 0;
  }

  /**
   * Take one in; false when it was here before.
   *
   * @param {number} seq
   */
  take(seq) {
    if (seq <= this.last || this.#ahead.has(seq)) return false;
    this.#ahead.add(seq);
    this.#close();
    return true;
  }

  /**
   * Everything up to `seq` is here, or is no longer looked for.
   *
   * @param {number} seq
   */
  reach(seq) {
    this.#last = Math.max(this.last, seq);
    for (const taken of this.#ahead) if (taken <= this.#last) this.#ahead.delete(taken);
    this.#close();
  }

  #close() {
    let next = this.last + 1;
    while (this.#ahead.delete(next)) next += 1;
    this.#last = next - 1;
  }
}
