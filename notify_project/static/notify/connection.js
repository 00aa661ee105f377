// @ts-check
/** Whether a page hears of what it shows, and what it says when it does not. */

import { pageFeed } from "./dashboard-feed.js";
import { find, setText } from "./dom.js";

/** So long without a frame of its kind, which comes every 2 s at least, a page knows that it is cut off. */
const SILENCE_MS = 5_000;
const LOOK_MS = 1_000;

/** Tells a page its frames, and when there are none. The pill's text and colour say which. */
export class Connection {
  /**
   * @param {HTMLElement} pill
   * @param {string} type of the frames that the page lives on
   */
  constructor(pill, type) {
    this.#pill = pill;
    const feed = pageFeed();
    feed.addEventListener("frame", (event) => {
      const frame = /** @type {CustomEvent} */ (event).detail;
      if (frame.type === type) this.#heard();
      this.onFrame(frame);
    });
    feed.addEventListener("refused", () => {
      this.#signIn = find(document, "main").dataset.signIn;
      this.#look();
    });
    feed.addEventListener("live", () => feed.live && this.onReturn());
    setInterval(() => this.#look(), LOOK_MS);
  }

  #pill;
  #openedAt = performance.now();
  #heardAt = NaN;
  #signIn = "";

  /** A frame came. @param {any} _frame */
  onFrame(_frame) {}

  /** There is a connection again: what was told while there was none is to be asked for. */
  onReturn() {}

  /**
   * No frames come: told every second.
   *
   * @param {number} _sinceMs since the last one; NaN when none ever came
   * @param {string} _signIn where to sign in, when that is what is wanted; else ""
   */
  onSilence(_sinceMs, _signIn) {}

  #heard() {
    this.#heardAt = performance.now();
    this.#tell("live");
  }

  #look() {
    const since = performance.now() - (Number.isNaN(this.#heardAt) ? this.#openedAt : this.#heardAt);
    if (since < SILENCE_MS && !this.#signIn) return;
    this.#tell("cut-off");
    this.onSilence(Number.isNaN(this.#heardAt) ? NaN : since, this.#signIn);
  }

  /** @param {"live" | "cut-off"} state */
  #tell(state) {
    this.#pill.dataset.state = state;
    setText(this.#pill, state === "live" ? "live" : "cut off");
  }
}
