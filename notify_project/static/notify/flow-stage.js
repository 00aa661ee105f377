// @ts-check
/** One stage of the flow on the page. Its elements are made by the server; here only their text changes. */

import { find, setText } from "./dom.js";
import { age, ms, rate, until, whole } from "./numbers.js";

/**
 * @typedef {"idle" | "ok" | "behind" | "stalled" | "down" | "paused" | "unknown"} State
 * @typedef {{state: State, reason: string, advice: string, count: number | null, rate: number | null,
 *   lag_ms: number | null, [fact: string]: any}} Stage  As a `flow` frame tells it.
 */

/** The state's word. @type {Record<string, string>} */
export const WORDS = { ok: "working" };
const FORMATS = { whole, rate, age, until, ms };

export class StageCard {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    this.name = element.dataset.stage ?? "";
    this.title = find(element, "h2").textContent;
    this.href = find(element, "a").getAttribute("href");
    this.#state = find(element, ".state");
    this.#note = find(element, ".stage-note");
    this.#facts = [...element.querySelectorAll("[data-fact]")].map((shown) => {
      const { fact, as } = /** @type {HTMLElement} */ (shown).dataset;
      return { shown, fact: fact ?? "", format: FORMATS[/** @type {keyof typeof FORMATS} */ (as)] };
    });
  }

  #state;
  #note;
  #facts;

  /** @param {Stage} stage */
  show(stage) {
    if (this.element.dataset.state !== stage.state) {
      this.element.dataset.state = this.#state.dataset.state = stage.state;
      setText(this.#state, WORDS[stage.state] ?? stage.state);
    }
    for (const { shown, fact, format } of this.#facts) setText(shown, format(stage[fact]));
    setText(this.#note, stage.reason || this.#note.dataset.about);
    this.#note.title = stage.advice;
  }
}

/** @param {string} state */
export function isTrouble(state) {
  return state === "behind" || state === "stalled" || state === "down";
}
