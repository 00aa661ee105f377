// @ts-check
/** The curves of the last 15 minutes: asked for once, then carried on by `point` frames. */

import { Problem, callAsStaff } from "./api.js";
import { Curve } from "./curve.js";
import { find, setText } from "./dom.js";
import { ms, rate } from "./numbers.js";
import { Slices } from "./slices.js";

/** @typedef {import("./slices.js").Point} Point */

const STEP_MS = 5_000;
const AGAIN_MS = 5_000;
const THROUGHPUT = {
  format: rate,
  log: false,
  empty: "Nothing was measured in the last 15 minutes.",
  series: [
    { name: "accepted", column: "accepted", colour: "--curve-1" },
    { name: "stored", column: "stored", colour: "--curve-2" },
    { name: "failed", column: "failed", colour: "--curve-3", dash: [4, 4] },
  ],
};
const LATENCY = {
  format: ms,
  log: true,
  empty: "Nothing was stored in the last 15 minutes.",
  series: [
    { name: "p50", column: "p50_ms", colour: "--curve-2" },
    { name: "p99", column: "p99_ms", colour: "--curve-4", dash: [4, 4] },
  ],
};

export class Curves {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.#note = find(element, ".curves-problem");
    this.#curves = [
      new Curve(find(element, "#throughput"), THROUGHPUT),
      new Curve(find(element, "#latency"), LATENCY),
    ];
    // Time passes, also while nothing is told.
    setInterval(() => this.#show(), STEP_MS);
    document.addEventListener("visibilitychange", () => this.#show());
  }

  #note;
  #curves;
  #slices = new Slices();
  #loading = false;
  /** What the server's clock is ahead of the browser's, in milliseconds. */
  #ahead = 0;

  /** Ask for what was measured before now; again later when there is no answer. */
  async load() {
    if (this.#loading) return;
    this.#loading = true;
    try {
      const { step_ms: stepMs, points } = await callAsStaff("/dashboard/history");
      this.#slices.replace(stepMs, points);
      setText(this.#note, "");
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      setText(this.#note, "The curves before now cannot be had yet: the server does not answer.");
      if (problem.passes) setTimeout(() => this.load(), AGAIN_MS);
    } finally {
      this.#loading = false;
      this.#show();
    }
  }

  /** @param {Point} point */
  add(point) {
    // A point is told when its slice is over, so the server's clock says that now.
    this.#ahead = point.at + STEP_MS - Date.now();
    this.#slices.add(point);
    this.#show();
  }

  #show() {
    if (document.hidden) return;
    // Small differences are the way from there to here.
    const ahead = Math.abs(this.#ahead) > STEP_MS ? this.#ahead : Math.max(this.#ahead, 0);
    this.#slices.fill(Date.now() + ahead);
    for (const curve of this.#curves) curve.show(this.#slices.columns);
  }
}
