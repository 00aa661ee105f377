// @ts-check
/** A burst: many single notifications, at a rate, in batches. */

import { callAsStaff, Problem } from "./api.js";
import { find } from "./dom.js";
import { whole } from "./numbers.js";
import { heard, sleep } from "./try-clock.js";
import { newKey, numbersOf, TryForm } from "./try-form.js";
import { lifeOf } from "./try-item.js";
import { sentence, stayed, took } from "./try-words.js";

/** @typedef {import("./try-activity.js").Activity} Activity */
/** @typedef {import("./try-item.js").Item} Item */

const MOST = { count: 100_000, rate: 10_000, recipients: 100_000 };
const SLICE_MS = 200;
const LARGEST_BATCH = 1_000;
const LOOK_MS = 100;
const LONGEST_WAIT_MS = 30_000;
const KEEP_MS = 1_000;
const TO = "try";
const TYPE = "burst";

/** Sends `count` events, `rate` a second, to `recipients` in turn. It knows no DOM; who listens hears `progress`. */
export class Burst extends EventTarget {
  accepted = 0;
  rejected = 0;
  lastId = "";
  /** Why it waits, in words; "" while it goes. */
  waits = "";
  isStopped = false;
  #begun = 0;
  #ended = 0;
  /** What the rate goes by: it moves while the burst waits, or it would make up for it all at once. */
  #from = 0;
  /** @type {() => void} */
  #wake = () => {};

  /** @param {{count: number, rate: number, recipients: number}} size */
  constructor(size) {
    super();
    this.size = size;
  }

  /** How long it has taken so far, in ms. */
  get tookMs() {
    return (this.#ended || performance.now()) - this.#begun;
  }

  get sent() {
    return this.accepted + this.rejected;
  }

  stop() {
    this.isStopped = true;
    this.#wake();
  }

  /** Send; resolves when all was accepted, or it was stopped. Rejects with a Problem that does not pass. */
  async run() {
    this.#begun = this.#from = performance.now();
    try {
      while (!this.isStopped && this.sent < this.size.count) {
        const due = this.#due();
        if (due > 0) await this.#post(due);
        else await this.#rest(SLICE_MS);
      }
    } finally {
      this.#ended = performance.now();
    }
  }

  /** How many are to be sent now: what a slice has at this rate, at most. */
  #due() {
    const { count, rate } = this.size;
    const slice = Math.max(1, Math.floor((rate * SLICE_MS) / 1000));
    const byNow = Math.floor((rate * (performance.now() - this.#from)) / 1000) + slice;
    const due = Math.min(byNow, count) - this.sent;
    // A slice is sent as a whole, so that there are five requests a second, not one for each event.
    const isWhole = due >= slice || this.sent + due >= count;
    return isWhole ? Math.min(due, slice, LARGEST_BATCH) : 0;
  }

  /** @param {number} size */
  async #post(size) {
    const notifications = Array.from({ length: size }, (_, index) => this.#event(this.sent + index));
    const body = JSON.stringify({ notifications });
    // A batch whose answer got lost is sent again under its key, and counts once.
    const headers = { "Idempotency-Key": newKey() };
    for (let failures = 0; !this.isStopped; failures += 1) {
      try {
        return this.#take(await callAsStaff("/api/notify/batch", { method: "POST", body, headers }));
      } catch (error) {
        if (!(error instanceof Problem) || !error.passes) throw error;
        await this.#waitOut(error, failures);
      }
    }
  }

  /** @param {{accepted: number, rejected: number, results: {id?: string}[]}} answer */
  #take({ accepted, rejected, results }) {
    this.accepted += accepted;
    this.rejected += rejected;
    this.lastId = results.findLast(({ id }) => id)?.id ?? this.lastId;
    this.#tell("");
  }

  /**
   * As long as the server asks for; longer and longer where it does not say.
   *
   * @param {Problem} problem
   * @param {number} failures before this one
   */
  async #waitOut(problem, failures) {
    const ms = problem.retryAfterMs || Math.min(LONGEST_WAIT_MS, 1_000 * 2 ** failures);
    const code = problem.status ? ` (${problem.status})` : "";
    this.#tell(`${sentence(problem.message)} Going on in ${took(ms)}${code}.`);
    const before = performance.now();
    await this.#rest(ms);
    this.#from += performance.now() - before;
  }

  /** @param {string} waits */
  #tell(waits) {
    this.waits = waits;
    this.dispatchEvent(new Event("progress"));
  }

  /** @param {number} ms */
  #rest(ms) {
    return Promise.race([sleep(ms), new Promise((resolve) => (this.#wake = () => resolve(undefined)))]);
  }

  /** @param {number} index */
  #event(index) {
    const { count, recipients } = this.size;
    return { recipient: `${TO}-${1 + (index % recipients)}`, type: TYPE, title: `Burst: ${index + 1} of ${count}` };
  }
}

/**
 * @param {HTMLElement} section
 * @param {Activity} activity
 */
export function setUpBurst(section, activity) {
  new TryForm(find(section, "#try-burst form"), async (values) => {
    const { count, rate, recipients } = numbersOf(values, MOST);
    const title = `Burst of ${whole(count)}, ${whole(rate)}/s`;
    const to = recipients === 1 ? `${TO}-1` : `${whole(Math.min(recipients, count))} recipients`;
    const item = activity.add({ kind: "burst", id: "", title, to, at: new Date().toISOString() });
    // It goes on by itself: the form is free for another.
    show(item, new Burst({ count, rate, recipients }));
  });
}

/**
 * A burst of before the page was loaded again: it lived in the page, and ended with it.
 *
 * @param {Item} item
 */
export function recallBurst(item) {
  const { id, said = "" } = item.deed;
  item.show(item.deed.over ? "done" : "stopped", `${said}${item.deed.over ? "" : " It ended as the page was left."}`);
  if (id) item.linkLife(id);
  item.linkInbox(`${TO}-1`);
}

/**
 * @param {Item} item
 * @param {Burst} burst
 */
async function show(item, burst) {
  const { count } = burst.size;
  const stop = item.button("Stop", () => burst.stop());
  let keptAt = 0;
  burst.addEventListener("progress", () => {
    item.show(burst.waits ? "waiting" : "sending", burst.waits || `${progress(burst)}.`);
    item.showBar({ good: burst.accepted, bad: burst.rejected, total: count });
    if (Date.now() - keptAt > KEEP_MS) item.keep(`${progress(burst)}.`);
    keptAt = Date.now() - keptAt > KEEP_MS ? Date.now() : keptAt;
  });
  item.show("sending", "");
  item.showBar({ good: 0, total: count });
  item.linkInbox(`${TO}-1`);
  let status = "done";
  let trouble = "";
  try {
    await burst.run();
    if (burst.sent < count) status = "stopped";
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    status = "failed";
    trouble = ` ${sentence(error.status === 401 ? "You are signed out: sign in again." : error.message)}`;
  }
  item.toggle(stop, false);
  const said = `${progress(burst)}.${slowness(burst, status)}${trouble}`;
  item.deed.id = burst.lastId;
  item.keep(said);
  if (burst.lastId === "") {
    item.show(status, said);
    item.end(said);
  } else followLast(item, status, said);
}

/**
 * @param {Item} item
 * @param {string} status of the sending
 * @param {string} said of it
 */
function followLast(item, status, said) {
  heard(item.deed.id);
  item.link("The last one's life", `${item.addresses.lives}?id=${item.deed.id}`);
  item.show(status, `${said} The last one is on its way.`);
  item.follow(async () => {
    const life = await lifeOf(item.deed.id);
    if (life.status !== "stored" && life.status !== "dead") return LOOK_MS;
    const after = `The last one was stored ${took(stayed(life))} after it was accepted.`;
    const end = life.status === "dead" ? "The last one is dead." : after;
    item.keep(`${said} ${end}`);
    item.show(status, `${said} ${end}`);
    item.end(`${item.deed.title}: ${said} ${end}`);
    return null;
  });
}

/** @param {Burst} burst */
function progress(burst) {
  const perSecond = burst.tookMs > 0 ? (1000 * burst.sent) / burst.tookMs : 0;
  const rejected = burst.rejected ? `, ${whole(burst.rejected)} rejected` : "";
  const rate = burst.tookMs > 1_000 ? ` (${whole(perSecond)}/s)` : "";
  return `${whole(burst.accepted)} of ${whole(burst.size.count)} accepted${rejected} in ${took(burst.tookMs)}${rate}`;
}

/**
 * @param {Burst} burst
 * @param {string} status
 */
function slowness(burst, status) {
  const { count, rate } = burst.size;
  const isSlow = status === "done" && burst.tookMs > 1_000 && (1000 * count) / burst.tookMs < 0.8 * rate;
  return isSlow ? " It was asked for faster: the web took no more than that." : "";
}
