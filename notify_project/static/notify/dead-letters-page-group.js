// @ts-check
/** One cause on the page of the dead letters: what failed, how often and since when; opened, its letters. */

import { Problem } from "./api.js";
import { causeOf, lettersOf } from "./dead-letters-page-api.js";
import { ADVICE, UNREADABLE, ago, firstLine, trouble } from "./dead-letters-page-words.js";
import { copyOf, find, setText, showTime } from "./dom.js";
import { whole } from "./numbers.js";

/** @typedef {import("./dead-letters-page-api.js").Group} Group */
/** @typedef {import("./dead-letters-page-api.js").Letter} Letter */
/** @typedef {{replay: (group: Group) => void, open: (letter: Letter) => void, toggled: () => void}} Deeds */

const PAGE = 20;
/** The most that the API gives at once. */
const MOST = 100;

/** @param {Group} group */
export function keyOf({ reason, fingerprint }) {
  return `${reason}/${fingerprint}`;
}

export class GroupView {
  /** @type {Group} */
  #group;
  #deeds;
  #next = "";
  /** Which letters are listed: a refresh asks for as many again. */
  #listed = 0;
  #asking = false;
  /** What the letters that are listed were true of. */
  #state = "";

  /**
   * @param {Group} group
   * @param {Deeds} deeds
   * @param {string} list the admin's address
   */
  constructor(group, deeds, list) {
    this.#group = group;
    this.#deeds = deeds;
    this.element = copyOf("letters-group");
    const toggle = find(this.element, ".group-toggle");
    toggle.setAttribute("aria-controls", `letters-${group.fingerprint}`);
    find(this.element, ".group-inside").id = `letters-${group.fingerprint}`;
    toggle.addEventListener("click", () => this.toggle());
    find(this.element, ".group-replay").addEventListener("click", () => deeds.replay(this.#group));
    find(this.element, ".group-older").addEventListener("click", () => this.#load(PAGE, this.#next));
    find(this.element, ".group-admin").href = `${list}?${new URLSearchParams(causeOf(group))}`;
    this.show(group);
  }

  get isOpen() {
    return !find(this.element, ".group-inside").hidden;
  }

  /** Open it, or close it. */
  toggle() {
    const opens = !this.isOpen;
    find(this.element, ".group-inside").hidden = !opens;
    find(this.element, ".group-toggle").setAttribute("aria-expanded", String(opens));
    this.#deeds.toggled();
    if (opens) this.#load(PAGE);
  }

  /** @param {Group} group as it is now */
  show(group) {
    this.#group = group;
    const { element } = this;
    setText(find(element, ".group-count strong"), whole(group.dead));
    setText(find(element, ".group-unit"), group.dead === 1 ? "letter" : "letters");
    setText(find(element, ".group-error"), firstLine(group.error));
    setText(find(element, ".state"), group.reason);
    setText(find(element, ".group-types"), types(group));
    setText(find(element, ".group-replaying"), group.replaying ? `${whole(group.replaying)} on their way back.` : "");
    setText(find(element, ".group-unreadable"), group.unreadable ? `${whole(group.unreadable)} cannot be read.` : "");
    find(element, ".group-first").hidden = group.oldest === group.newest;
    find(element, ".group-replay").hidden = group.dead - group.unreadable <= 0;
    const unreadable = group.dead > 0 && group.unreadable >= group.dead;
    setText(find(element, ".group-advice"), unreadable ? UNREADABLE : (ADVICE[group.reason] ?? ""));
    this.tick();
    const state = `${group.dead} ${group.newest}`;
    // What changes while its letters are asked for is noticed at the next look.
    const changed = this.#state !== state && !this.#asking;
    if (changed) this.#state = state;
    // More than one answer holds would be lost: there, who reads asks for more.
    if (changed && this.isOpen && this.#listed <= MOST) this.#load(Math.max(this.#listed, PAGE));
  }

  /** Let its times grow older. */
  tick() {
    for (const name of /** @type {const} */ (["newest", "oldest"])) {
      const time = find(this.element, `.${name}`);
      const moment = this.#group[name];
      if (time.dateTime !== moment) showTime(time, moment);
      setText(time, ago(moment));
    }
    for (const time of this.element.querySelectorAll(".row-when")) {
      if (time instanceof HTMLTimeElement) setText(time, ago(time.dateTime));
    }
  }

  /**
   * @param {number} limit
   * @param {string} [cursor] without, the list begins anew
   */
  async #load(limit, cursor) {
    if (this.#asking) return;
    this.#asking = true;
    const problem = find(this.element, ".group-problem");
    try {
      const page = await lettersOf(this.#group, limit, cursor);
      this.#list(page.results, cursor === undefined);
      this.#next = page.next ?? "";
      problem.hidden = true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setText(problem, trouble(error));
      problem.hidden = false;
    } finally {
      this.#asking = false;
      find(this.element, ".group-older").hidden = this.#next === "";
    }
  }

  /**
   * @param {Letter[]} letters
   * @param {boolean} anew
   */
  #list(letters, anew) {
    const list = find(this.element, ".letter-list");
    /** @type {Map<string | undefined, HTMLElement>} */
    const rows = new Map([...list.children].map((row) => [row.dataset.id, row]));
    const shown = letters.map((letter) => this.#row(letter, rows.get(letter.id)));
    arrange(list, anew ? shown : [...rows.values(), ...shown.filter((row) => !rows.has(row.dataset.id))]);
    this.#listed = list.children.length;
  }

  /**
   * @param {Letter} letter
   * @param {HTMLElement | undefined} existing
   */
  #row(letter, existing) {
    if (existing?.dataset.life === String(letter.life)) return existing;
    const row = copyOf("letter-row");
    row.dataset.id = letter.id;
    row.dataset.life = String(letter.life);
    const died = letter.life ? `died ${letter.life + 1} times` : "";
    setText(find(row, ".row-recipient"), letter.recipient ?? "nobody known");
    setText(find(row, ".row-title bdi"), letter.notification?.title ?? "");
    setText(find(row, ".row-type"), letter.type ?? "");
    setText(find(row, ".row-notes"), letter.readable ? died : "cannot be read");
    showTime(find(row, ".row-when"), letter.last_failed_at);
    setText(find(row, ".row-when"), ago(letter.last_failed_at));
    find(row, "button").addEventListener("click", () => this.#deeds.open(letter));
    return row;
  }
}

/**
 * Have a list hold these elements in this order. None that stands where it should is touched: it may have the focus.
 *
 * @param {HTMLElement} list
 * @param {HTMLElement[]} elements
 */
export function arrange(list, elements) {
  for (const child of [...list.children]) if (!elements.includes(/** @type {HTMLElement} */ (child))) child.remove();
  elements.forEach((element, n) => {
    if (list.children[n] !== element) list.insertBefore(element, list.children[n] ?? null);
  });
}

/** @param {Group} group */
function types({ types: shown, type_count: all }) {
  const more = all > shown.length ? ` and ${whole(all - shown.length)} more` : "";
  return shown.join(", ") + more;
}
