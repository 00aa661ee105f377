// @ts-check
/** The one sentence above the flow: what is wrong first, and what to do about it. */

import { find, setText } from "./dom.js";
import { isTrouble } from "./flow-stage.js";
import { age, rate } from "./numbers.js";

/**
 * @typedef {import("./flow-stage.js").Stage} Stage
 * @typedef {import("./flow-stage.js").StageCard} StageCard
 * @typedef {{state: string, title: string, reason: string, advice: string, link?: string, href?: string,
 *   key?: string}} Saying  `key`: what stays the same while it says the same; without, that is its title.
 */

const GRAVITY = ["down", "stalled", "behind", "paused"];
/** Where several are in equal trouble, the cause is likelier in the first of these. */
const CAUSES = ["api", "postgresql", "workers", "live", "schedule", "retry", "dlq", "bulk_jobs", "bulk", "sockets"];
const MAY_REST = ["api", "live", "bulk", "workers", "retry", "bulk_jobs"];
const SHAPES = {
  good: "M5 12.5l4.5 4.5L19 7.5",
  rest: "M12 7v5l3 2M12 3a9 9 0 1 0 .01 0",
  trouble: "M12 4L2.5 20h19zM12 10v4M12 17v.01",
  cut: "M3 3l18 18M8.5 15.5a5 5 0 0 1 5-1M5 11.5a10 10 0 0 1 5-2.5M19 11.5a10 10 0 0 0-3-2M12 19v.01",
};
const PROCESSES = { link: "See processes", href: "/processes/" };
/** A live region that spoke of every number would never be quiet. */
const SPEAK_AFTER_MS = 1_000;

export class Banner {
  /**
   * @param {HTMLElement} element
   * @param {HTMLElement} spoken a live region
   */
  constructor(element, spoken) {
    this.#element = element;
    this.#spoken = spoken;
    this.#title = find(element, ".banner-title");
    this.#reason = find(element, ".banner-reason");
    this.#advice = find(element, ".banner-advice");
    this.#link = find(element, ".banner-link");
    this.#path = find(element, "path");
  }

  #element;
  #spoken;
  #title;
  #reason;
  #advice;
  #link;
  #path;
  #key = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #speaking;

  /** @param {Saying} saying */
  show({ state, title, reason, advice, link = "", href = "", key = title }) {
    this.#element.dataset.state = state;
    setText(this.#title, title);
    setText(this.#reason, reason);
    setText(this.#advice, advice);
    this.#advice.hidden = !advice;
    setText(this.#link, link);
    this.#link.hidden = !link;
    if (link) this.#link.setAttribute("href", href);
    this.#path.setAttribute("d", shape(state));
    this.#speak(state + key, [title, reason, advice].filter(Boolean).join(" "));
  }

  /**
   * @param {string} key
   * @param {string} text
   */
  #speak(key, text) {
    if (key === this.#key) return;
    this.#key = key;
    clearTimeout(this.#speaking);
    this.#speaking = setTimeout(() => setText(this.#spoken, text), SPEAK_AFTER_MS);
  }
}

/**
 * What to say of the stages.
 *
 * @param {Record<string, Stage>} stages
 * @param {Map<string, StageCard>} cards
 * @returns {Saying}
 */
export function judged(stages, cards) {
  const worst = CAUSES.filter((name) => stages[name] && GRAVITY.includes(stages[name].state)).sort(
    (one, other) => GRAVITY.indexOf(stages[one].state) - GRAVITY.indexOf(stages[other].state),
  );
  if (worst.length > 0) return said(worst, stages, cards);
  if (MAY_REST.every((name) => (stages[name]?.state ?? "idle") === "idle")) return rest(stages.dlq);
  const { api, workers } = stages;
  const reason = `${rate(api?.rate)} accepted, ${rate(workers?.rate)} stored.`;
  return { state: "ok", title: "Everything is working.", reason, advice: "" };
}

/**
 * @param {Stage | undefined} letters
 * @returns {Saying}
 */
function rest(letters) {
  const quiet = { state: "idle", advice: "" };
  if (letters?.count && letters.reason) {
    const link = { link: "See dead letters", href: "/dead-letters/" };
    return { ...quiet, title: "All is quiet.", reason: letters.reason, ...link };
  }
  const reason = "Every event that was accepted is where it belongs.";
  return { ...quiet, title: "Nothing to do.", reason, link: "Send something", href: "#try" };
}

/**
 * @param {string[]} worst names, the worst first
 * @param {Record<string, Stage>} stages
 * @param {Map<string, StageCard>} cards
 * @returns {Saying}
 */
function said(worst, stages, cards) {
  const [name] = worst;
  const { state, reason, advice } = stages[name];
  const others = worst.slice(1).filter((other) => isTrouble(stages[other].state));
  const also = others.map((other) => cards.get(other)?.title ?? other).join(", ");
  const card = cards.get(name);
  return {
    state,
    title: `${card?.title ?? name}: ${state}.`,
    reason: reason + (also ? ` Also in trouble: ${also}.` : ""),
    advice,
    ...(state === "paused" ? { link: `See ${card?.title}`, href: card?.href ?? "" } : PROCESSES),
  };
}

/**
 * What to say while no frames come.
 *
 * @param {number} sinceMs how long ago the last one came; NaN when none ever came
 * @param {string} signIn where to sign in, when that is what is wanted; else ""
 * @returns {Saying}
 */
export function cutOff(sinceMs, signIn) {
  if (signIn) {
    const reason = "You are signed out, or no member of staff any more.";
    return { state: "cut-off", title: "No news.", reason, advice: "", link: "Sign in", href: signIn };
  }
  const title = Number.isNaN(sinceMs) ? "No news yet." : `No news for ${age(Math.floor(sinceMs / 1000) * 1000).replace(".0", "")}.`;
  const reason = "The server does not answer. What you see here is old, and may be wrong by now.";
  const advice = "Trying again by itself. If it goes on, see whether the web process runs.";
  // The title counts the seconds.
  return { state: "cut-off", title, reason, advice, key: reason };
}

/** @param {string} state */
function shape(state) {
  if (state === "cut-off") return SHAPES.cut;
  if (isTrouble(state)) return SHAPES.trouble;
  return state === "ok" ? SHAPES.good : SHAPES.rest;
}
