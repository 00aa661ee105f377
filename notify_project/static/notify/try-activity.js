// @ts-check
/** The list of what was done on this page in this tab: the newest first, and so many at most. A reload keeps it. */

import { find, setText } from "./dom.js";
import { Item } from "./try-item.js";

/**
 * @typedef {{kind: string, id: string, title: string, to: string, at: string, over?: boolean, said?: string}} Deed
 *   What was done: `id` is the API's (of a burst, the last notification's), `at` is when, RFC 3339. `over`: there is no
 *   more to come; `said` is what was last told of it, for what nobody can be asked about.
 */

const KEPT = 15;
const STORE = "notify-tried";

export class Activity {
  #section;
  #list;
  /** @type {Item[]} newest first */
  #items = [];

  /** @param {HTMLElement} section */
  constructor(section) {
    this.#section = section;
    this.#list = find(section, ".try-list");
    find(section, ".try-clear").addEventListener("click", () => this.#clear());
  }

  /**
   * Show what was done before the page was loaded again.
   *
   * @param {Record<string, (item: Item) => void>} followers for each kind, what shows what becomes of it
   */
  restore(followers) {
    for (const deed of remembered().reverse()) {
      const follow = followers[deed.kind];
      if (follow) follow(this.#put(deed));
    }
  }

  /**
   * Add what was just done.
   *
   * @param {Deed} deed
   */
  add(deed) {
    const item = this.#put(deed);
    this.#remember();
    return item;
  }

  /**
   * Tell those who do not see the page; for what begins and what ends, not for what moves.
   *
   * @param {string} text
   */
  say(text) {
    setText(find(this.#section, ".try-said"), text);
  }

  /** @param {Deed} deed */
  #put(deed) {
    const item = new Item(deed, {
      addresses: this.#section.dataset,
      changed: () => this.#remember(),
      say: (text) => this.say(text),
    });
    this.#items.unshift(item);
    this.#list.prepend(item.element);
    for (const old of this.#items.splice(KEPT)) old.element.remove();
    this.#tellWhetherEmpty();
    return item;
  }

  #clear() {
    const [over, open] = [this.#items.filter((item) => item.deed.over), this.#items.filter((item) => !item.deed.over)];
    for (const item of over) item.element.remove();
    this.#items = open;
    this.#remember();
    this.#tellWhetherEmpty();
    this.say(over.length > 0 ? "What is over was cleared." : "Nothing is over yet.");
  }

  #tellWhetherEmpty() {
    const isEmpty = this.#items.length === 0;
    const button = find(this.#section, ".try-clear");
    // The focus must not fall off the page with the button it is on.
    if (isEmpty && button === document.activeElement) find(this.#section, "[role=tab][aria-selected=true]").focus();
    find(this.#section, ".try-empty").hidden = !isEmpty;
    button.hidden = isEmpty;
  }

  #remember() {
    sessionStorage.setItem(STORE, JSON.stringify(this.#items.map((item) => item.deed)));
  }
}

/** @returns {Deed[]} newest first */
function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(STORE) ?? "[]");
  } catch {
    return [];
  }
}
