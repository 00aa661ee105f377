// @ts-check
/**
 * Replaying many: how many that would be is said first; then one goes ahead, and when it is stored the others follow,
 * or all of them go at once. What becomes of them is shown while it happens.
 */

import { Problem } from "./api.js";
import { count, follow, letter, newKey, replayMany } from "./dead-letters-page-api.js";
import { showFate } from "./dead-letters-page-letter.js";
import { fateOfOne, letters, outcomeOfMany, trouble } from "./dead-letters-page-words.js";
import { find, setText } from "./dom.js";
import { whole } from "./numbers.js";

/** @typedef {import("./dead-letters-page-api.js").Criteria} Criteria */
/** @typedef {import("./dead-letters-page-words.js").Outcome} Outcome */

const NOTHING = "None of them can be replayed: somebody was faster, or they cannot be read and have to be edited first.";
const GOES_ON = "Close this if you like: it goes on without you, and stands under “Replays”.";
const FIRST = "One first: you see what becomes of it before the others go.";

/** The dialog was closed, or opened for another replay, while an answer was under way. */
class Left extends Error {}

export class ReplayDialog {
  /** @type {Criteria} */
  #criteria = {};
  #key = newKey();
  #busy = false;
  /** Counts openings; what an earlier one still waited for is dropped. */
  #opening = 0;
  #following = new AbortController();

  /**
   * @param {HTMLElement} page with the addresses of other pages
   * @param {() => void} changed
   */
  constructor(page, changed) {
    this.page = page;
    this.changed = changed;
    this.dialog = find(document, ".replay-dialog");
    this.all = find(this.dialog, ".replay-all");
    this.canary = find(this.dialog, ".replay-canary");
    find(this.dialog, ".dialog-close").addEventListener("click", () => this.dialog.close());
    this.all.addEventListener("click", () => this.#act(() => this.#replayAll()));
    this.canary.addEventListener("click", () => this.#act(() => this.#replayOneFirst()));
    this.dialog.addEventListener("close", () => this.dialog.open || this.#leave());
  }

  /**
   * @param {string} which in words
   * @param {Criteria} criteria
   */
  async open(which, criteria) {
    this.#leave();
    this.#criteria = criteria;
    this.#key = newKey();
    setText(find(this.dialog, ".replay-which bdi"), which);
    find(this.dialog, ".replay-which").hidden = which === "";
    this.#fate(null);
    find(this.dialog, ".replay-progress").hidden = true;
    find(this.dialog, ".replay-letter").hidden = true;
    this.#offer("Counting …", "", 0, false);
    this.dialog.showModal();
    await this.#act(() => this.#question());
  }

  #leave() {
    this.#following.abort();
    this.#opening += 1;
    this.#busy = false;
  }

  /**
   * Wait for an answer. Rejects with Left where it comes too late to be shown.
   *
   * @template T
   * @param {Promise<T>} answer
   * @returns {Promise<T>}
   */
  async #inTime(answer) {
    const opening = this.#opening;
    const told = await answer.catch((problem) => {
      throw opening === this.#opening ? problem : new Left();
    });
    if (opening !== this.#opening) throw new Left();
    return told;
  }

  async #question() {
    const matched = await this.#inTime(count(this.#criteria));
    if (matched === 0) return this.#offer("Nothing to replay.", NOTHING, 0, false);
    const many = matched > 1;
    this.#offer(`${letters(matched)} would be replayed.`, many ? FIRST : "", matched, many);
    (many ? this.canary : this.all).focus();
  }

  async #replayOneFirst() {
    const order = await this.#order(1);
    if (!order) return;
    this.#offer("One is replayed. The others wait.", "", 0, false);
    const end = await this.#follow(order.id, (now) => this.#showOne(now, ""));
    if (!end) return;
    const canary = end.letter ? await this.#inTime(letter(end.letter)) : null;
    this.#showOne(end, canary?.error ?? "");
    if (end.stored === 0) return this.#offer("It failed again. The others were left alone.", "The cause is still there. Close this, and look at the letter.", 0, false);
    const rest = await this.#inTime(count(this.#criteria));
    if (rest === 0) return this.#offer("It worked, and there is no other.", "", 0, false);
    this.#offer("It worked.", "The others failed in the same way.", rest, false, `Replay the other ${whole(rest)}`);
    this.all.focus();
  }

  async #replayAll() {
    const order = await this.#order();
    if (!order) return;
    this.#fate(null);
    find(this.dialog, ".replay-letter").hidden = true;
    this.#offer(`${letters(order.matched)} replayed.`, GOES_ON, 0, false);
    const end = await this.#follow(order.id, (now) => this.#showMany(now));
    if (!end) return;
    const advice = end.dead ? "Those that died again are on this page: look at one of them." : "";
    this.#offer(end.dead ? "Not all of them worked." : "All of them are stored.", advice, 0, false);
  }

  /** @param {number} [limit] */
  async #order(limit) {
    const ordered = replayMany(this.#criteria, this.#key, limit);
    const order = await this.#inTime(ordered.finally(() => this.changed()));
    this.#key = newKey();
    if (order.matched > 0) return order;
    this.#offer("Nothing was replayed.", NOTHING, 0, false);
    return null;
  }

  /**
   * @param {string} order
   * @param {(outcome: Outcome) => void} tell
   */
  async #follow(order, tell) {
    const following = (this.#following = new AbortController());
    const told = (/** @type {Outcome} */ now) => {
      this.#say("");
      tell(now);
    };
    const end = await this.#inTime(follow(order, told, following.signal, (problem) => this.#say(trouble(problem))));
    this.changed();
    return end;
  }

  /**
   * @param {Outcome} now
   * @param {string} error
   */
  #showOne(now, error) {
    this.#fate(fateOfOne(now, error));
    const link = find(this.dialog, ".replay-letter");
    link.hidden = now.letter === null;
    link.href = `${this.page.dataset.lives}?id=${now.event?.id ?? now.letter}`;
  }

  /** @param {Outcome} now */
  #showMany(now) {
    const bar = find(this.dialog, ".replay-progress");
    bar.hidden = false;
    bar.max = now.letters;
    bar.value = now.letters - now.on_the_way;
    this.#fate({ text: `${outcomeOfMany(now)}.`, state: now.dead ? "dead" : now.on_the_way ? "connecting" : "ok", detail: "" });
  }

  /**
   * Say how it stands, and what may be done.
   *
   * @param {string} said
   * @param {string} advice
   * @param {number} matched 0: nothing to be done
   * @param {boolean} canary
   * @param {string} [words] on the button
   */
  #offer(said, advice, matched, canary, words) {
    // Whoever pressed a button that goes now stands nowhere with the keyboard otherwise.
    if (matched === 0) find(this.dialog, ".dialog-close").focus();
    setText(find(this.dialog, ".replay-count"), said);
    setText(find(this.dialog, ".replay-advice"), advice);
    this.all.hidden = matched === 0;
    this.all.classList.toggle("btn-primary", !canary);
    setText(this.all, words ?? (matched === 1 ? "Replay it" : `Replay all ${whole(matched)}`));
    this.canary.hidden = !canary;
  }

  /** @param {() => Promise<void>} deed */
  async #act(deed) {
    if (this.#busy) return;
    this.#busy = true;
    this.#say("");
    try {
      await deed();
    } catch (problem) {
      if (problem instanceof Left) return;
      this.#busy = false;
      if (!(problem instanceof Problem)) throw problem;
      if (!problem.passes) this.#key = newKey();
      this.#say(trouble(problem));
    }
    this.#busy = false;
  }

  /** @param {import("./dead-letters-page-words.js").Fate | null} fate */
  #fate(fate) {
    showFate(find(this.dialog, ".replay-fate"), fate);
  }

  /** @param {string} text */
  #say(text) {
    const note = find(this.dialog, ".replay-problem");
    setText(note, text);
    note.hidden = text === "";
  }
}
