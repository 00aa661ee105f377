// @ts-check
/** The steps of one notification's life. What is the same stays the same element: what was opened stays open. */

import { copyOf, find, setText, showTime } from "./dom.js";
import { duration, running } from "./lives-times.js";

/**
 * @typedef {object} Step  As /dashboard/lives/{id} has it: times are RFC 3339.
 * @property {string | null} at
 * @property {string} kind
 * @property {string} title
 * @property {string} detail
 * @property {string | null} by
 * @property {string | null} error
 * @property {number | null} delay_ms
 * @property {string | null} since
 * @property {string | null} until
 */

const TICK_MS = 100;
// An error of one line that is no longer than this is shown as it is.
const SHORT_ERROR = 140;
// So late, somebody does not do what is due; or so long, nobody takes what waits.
const LATE_MS = 3_000;
const LONG_MS = 5_000;

const GOES_ON = new Set(["waiting", "handling", "unread"]);

export class Timeline {
  #list;
  /** @type {Step[]} */
  #steps = [];
  #skewMs = 0;

  /** @param {HTMLElement} list */
  constructor(list) {
    this.#list = list;
    setInterval(() => this.#tick(), TICK_MS);
  }

  /**
   * @param {Step[]} steps oldest first
   * @param {number} nowMs the server's time just now
   */
  show(steps, nowMs) {
    this.#skewMs = nowMs - Date.now();
    steps.forEach((step, index) => this.#place(step, index, steps));
    while (this.#list.children.length > steps.length) this.#list.lastElementChild?.remove();
    this.#steps = steps;
    this.#tick();
  }

  /**
   * @param {Step} step
   * @param {number} index
   * @param {Step[]} steps
   */
  #place(step, index, steps) {
    const key = `${step.kind} ${step.title} ${step.at}`;
    let item = /** @type {HTMLElement | undefined} */ (this.#list.children[index]);
    if (item?.dataset.key !== key) {
      const made = copyOf("step");
      made.dataset.key = key;
      made.dataset.kind = step.kind;
      if (item) item.replaceWith(made);
      else this.#list.append(made);
      item = made;
    }
    fill(item, step);
    setText(find(item, ".lives-gap"), gap(step, steps.slice(0, index)));
  }

  #tick() {
    if (document.hidden) return;
    const now = Date.now() + this.#skewMs;
    this.#steps.forEach((step, index) => {
      if (GOES_ON.has(step.kind)) tell(/** @type {HTMLElement} */ (this.#list.children[index]), step, now);
    });
  }
}

/**
 * The time since the step before; none where clocks disagree.
 *
 * @param {Step} step
 * @param {Step[]} earlier
 */
function gap(step, earlier) {
  const before = earlier.findLast(({ at }) => at !== null);
  if (!step.at || !before?.at) return "";
  const ms = Date.parse(step.at) - Date.parse(before.at);
  return ms < 0 ? "" : `+${duration(ms)}`;
}

/**
 * @param {HTMLElement} item
 * @param {Step} step
 */
function fill(item, step) {
  setText(find(item, "strong"), step.title);
  const by = find(item, ".lives-by");
  by.hidden = !step.by;
  setText(find(by, "bdi"), step.by ?? "");
  const time = find(item, ".lives-what > time");
  time.hidden = !step.at;
  if (step.at) showTime(time, step.at);
  const detail = find(item, ".lives-detail");
  detail.hidden = !step.detail;
  setText(detail, step.detail);
  if (step.error) fillError(item, step.error);
  if (!GOES_ON.has(step.kind)) fillClock(item, step);
}

/**
 * @param {HTMLElement} item
 * @param {string} error
 */
function fillError(item, error) {
  const [line] = error.split("\n", 1);
  const short = error.length <= SHORT_ERROR && line === error;
  const plain = find(item, ".lives-error-short");
  const long = find(item, ".lives-error");
  plain.hidden = !short;
  long.hidden = short;
  setText(short ? plain : find(long, "pre"), error);
  if (!short) setText(find(long, "summary"), line.length > SHORT_ERROR ? `${line.slice(0, SHORT_ERROR)}…` : line);
}

/**
 * What a step that is over says of what followed: when the next attempt was due, or the schedule.
 *
 * @param {HTMLElement} item
 * @param {Step} step
 */
function fillClock(item, step) {
  const clock = find(item, ".lives-clock");
  const time = find(clock, "time");
  clock.hidden = step.delay_ms === null && !step.until;
  time.hidden = !step.until;
  if (step.until) {
    setText(find(clock, "span"), "For");
    showTime(time, step.until);
  } else if (step.delay_ms !== null) {
    setText(find(clock, "span"), `The next attempt after ${duration(step.delay_ms)}`);
  }
}

/**
 * How long a step goes on already, or will.
 *
 * @param {HTMLElement} item
 * @param {Step} step
 * @param {number} now Unix ms of the server
 */
function tell(item, step, now) {
  const clock = find(item, ".lives-clock");
  const time = find(clock, "time");
  clock.hidden = !step.until && !step.since;
  time.hidden = !step.until;
  if (step.until) {
    const left = Date.parse(step.until) - now;
    setText(find(clock, "span"), left > 0 ? `in ${running(left)}, at` : `due for ${running(-left)}, since`);
    showTime(time, step.until);
    advise(item, -left > LATE_MS ? "It is late: is a scheduler running? Look at Processes." : "");
  } else if (step.since) {
    const lasts = now - Date.parse(step.since);
    setText(find(clock, "span"), `for ${running(lasts)}`);
    advise(item, step.kind === "waiting" && lasts > LONG_MS ? "It waits long: is a worker running? Look at Flow." : "");
  }
}

/**
 * @param {HTMLElement} item
 * @param {string} advice
 */
function advise(item, advice) {
  const line = find(item, ".lives-advice");
  line.hidden = !advice;
  setText(line, advice);
}
