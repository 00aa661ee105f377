// @ts-check
/** The latest replays, whoever ordered them, and what becomes of their letters. */

import { outcome, replays } from "./dead-letters-page-api.js";
import { ago, letters, outcomeOfMany } from "./dead-letters-page-words.js";
import { copyOf, find, setText, showTime } from "./dom.js";

/** @typedef {import("./dead-letters-page-words.js").Outcome} Outcome */

export class ReplayList {
  /** Of those of which none is on its way, what became of them does not change. @type {Map<string, Outcome>} */
  #settled = new Map();
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();

  /** @param {HTMLElement} page with the addresses of other pages */
  constructor(page) {
    this.page = page;
    this.section = find(page, ".letters-replays");
    this.list = find(page, ".replay-list");
  }

  /**
   * Ask for all that may have changed. Rejects with a Problem.
   *
   * @returns {Promise<boolean>} whether nothing of it changes any more
   */
  async refresh() {
    const orders = await replays();
    const known = new Map(orders.map((order) => [order.id, this.#rows.get(order.id) ?? this.#row(order)]));
    this.#rows = known;
    this.#settled = new Map([...this.#settled].filter(([id]) => known.has(id)));
    const rows = [...known.values()];
    if (rows.some((row, n) => this.list.children[n] !== row)) this.list.replaceChildren(...rows);
    this.section.hidden = rows.length === 0;
    for (const order of orders) await this.#look(order);
    this.tick();
    return this.#settled.size === orders.length;
  }

  /** Let the times grow older. */
  tick() {
    for (const time of this.list.querySelectorAll("time")) setText(time, ago(time.dateTime));
  }

  /** @param {Outcome} order */
  async #look({ id }) {
    if (this.#settled.has(id)) return;
    const now = await outcome(id);
    if (now.on_the_way === 0) this.#settled.set(id, now);
    const row = this.#rows.get(id);
    if (!row) return;
    setText(find(row, ".replay-outcome"), outcomeOfMany(now));
    row.dataset.state = now.dead ? "dead" : now.on_the_way ? "connecting" : "ok";
  }

  /** @param {Outcome} order */
  #row(order) {
    const row = copyOf("replay-row");
    setText(find(row, ".replay-what"), letters(order.letters));
    find(row, ".replay-what").title = order.what;
    const by = document.createElement("bdi");
    by.textContent = order.by;
    find(row, ".replay-by").append("by ", by);
    showTime(find(row, "time"), order.at);
    const link = find(row, ".replay-link");
    link.href = `${this.page.dataset.replays}${order.id}/change/`;
    link.setAttribute("aria-label", `Look at the replay of ${letters(order.letters)}`);
    return row;
  }
}
