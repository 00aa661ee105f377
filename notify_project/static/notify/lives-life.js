// @ts-check
/** One notification's life: what it is, and its timeline, which is asked for again as long as more is to come. */

import { Problem, callAsStaff } from "./api.js";
import { pretty } from "./dead-letters-page-words.js";
import { find, setText } from "./dom.js";
import { showLinks } from "./lives-results.js";
import { STATES } from "./lives-states.js";
import { duration } from "./lives-times.js";
import { Timeline } from "./lives-timeline.js";

const SOON_MS = 500;
const LATER_MS = 2_000;
// Of what moves no more by itself: somebody may read it, or replay it.
const RARELY_MS = 5_000;
const MINUTE_MS = 60_000;
const OVER = new Set(["read", "cancelled", "discarded"]);
const SOURCES = new Map([["api", "by the API"], ["schedule", "by a schedule"], ["bulk", "in a bulk job"]]);

export class LifeView {
  #path;
  #tell;
  #timeline = new Timeline(find(document, "#steps"));
  #changedAt = Date.now();
  #seen = "";
  #over = false;
  #open = true;
  /** @type {number | undefined} */
  #timer;

  /**
   * @param {string} path where its timeline is asked for
   * @param {(problem: Problem | null) => void} tell what keeps it from being shown, null as soon as nothing does
   */
  constructor(path, tell) {
    this.#path = path;
    this.#tell = tell;
    document.addEventListener("visibilitychange", () => this.#look());
  }

  /** Show it, and go on as long as more is to come. */
  start() {
    this.#look();
  }

  async #look() {
    clearTimeout(this.#timer);
    if (document.hidden || this.#over) return;
    try {
      this.#show(await callAsStaff(this.#path));
      this.#tell(null);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#tell(error);
      if (!error.passes) return;
      this.#open = false;
    }
    clearTimeout(this.#timer);
    if (!this.#over) this.#timer = setTimeout(() => this.#look(), this.#waitMs());
  }

  #waitMs() {
    const moved = Date.now() - this.#changedAt < MINUTE_MS;
    if (this.#open) return moved ? SOON_MS : LATER_MS;
    return moved ? LATER_MS : RARELY_MS;
  }

  /** @param {any} told */
  #show(told) {
    const { notification, timeline } = told;
    const last = timeline.at(-1);
    this.#open = told.open;
    this.#over = OVER.has(last.kind);
    describe(notification);
    this.#timeline.show(timeline, Date.parse(told.now));
    showLinks(find(document, ".lives-links"), told.links);
    const note = find(document, "#life-note");
    note.hidden = !told.note;
    setText(note, told.note);
    find(document, "#life").hidden = false;
    this.#announce(timeline.map((/** @type {any} */ step) => step.title).join(), last.title);
  }

  /**
   * @param {string} seen all that is shown
   * @param {string} newest
   */
  #announce(seen, newest) {
    if (seen === this.#seen) return;
    if (this.#seen) setText(find(document, "#said"), newest);
    this.#seen = seen;
    this.#changedAt = Date.now();
  }
}

/** @param {any} notification */
function describe(notification) {
  const { title, recipient, type, status, source, id, body, data } = notification;
  setText(find(document, "#life-title"), title || "(without a title)");
  const state = find(document, "#life-state");
  state.dataset.state = STATES.get(status) ?? "";
  setText(state, status);
  const to = find(document, "#life-recipient");
  to.href = `?${new URLSearchParams({ q: recipient, kind: "recipient" })}`;
  setText(find(to, "bdi"), recipient || "nobody");
  setText(find(document, ".lives-type"), type || "unreadable");
  setText(find(document, ".lives-source"), SOURCES.get(source) ?? source);
  setText(find(document, "#life-id"), id);
  setText(find(document, ".lives-body"), body);
  setText(find(document, ".lives-data"), pretty(data));
  setText(find(document, ".lives-total"), total(notification));
}

/**
 * How long it took from the 202 to the row. What a schedule sends was accepted when that was made, which says nothing.
 *
 * @param {any} notification
 */
function total({ source, accepted_at: accepted, stored_at: stored }) {
  if (!stored || source === "schedule") return "";
  return `stored after ${duration(Math.max(0, Date.parse(stored) - Date.parse(accepted)))}`;
}
