// @ts-check
/** One thing that was done, in the list: its state, what happened to it so far, its bar, its links and buttons. */

import { callAsStaff, Problem } from "./api.js";
import { copyOf, find, setText, showTime } from "./dom.js";
import { sleep } from "./try-clock.js";
import { sentence, TONES } from "./try-words.js";

/** @typedef {import("./try-activity.js").Deed} Deed */

const TICK_MS = 200;
const LEAST_MS = 20;
const TROUBLE_MS = 2_000;

export class Item {
  #page;
  /** @type {HTMLElement | undefined} */
  #bar;
  /** When to look again, Unix ms. */
  #due = 0;

  /**
   * @param {Deed} deed
   * @param {{addresses: DOMStringMap, changed: () => void, say: (text: string) => void}} page
   */
  constructor(deed, page) {
    this.deed = deed;
    this.#page = page;
    this.element = copyOf("try-item");
    setText(find(this.element, ".try-title"), deed.title);
    this.setTo(deed.to);
    showTime(find(this.element, "time"), deed.at);
  }

  /** Where the pages are that this one leads to. */
  get addresses() {
    return this.#page.addresses;
  }

  /**
   * @param {string} to whom it went: an id, or words for many
   */
  setTo(to) {
    const place = find(this.element, ".try-to");
    const name = document.createElement("bdi");
    name.textContent = to;
    place.replaceChildren("to ", name);
  }

  /**
   * @param {string} status a word for people; its look is that of try-words.js
   * @param {string} [note] a sentence
   */
  show(status, note = "") {
    const state = find(this.element, ".state");
    state.dataset.state = TONES[status] ?? "idle";
    setText(state, status);
    setText(find(this.element, ".try-note"), note);
  }

  /** @param {string[]} steps what happened, in order */
  showSteps(steps) {
    const list = find(this.element, ".try-steps");
    list.hidden = steps.length === 0;
    if (list.dataset.steps === steps.join()) return;
    list.dataset.steps = steps.join();
    list.replaceChildren(...steps.map((step) => Object.assign(document.createElement("li"), { textContent: step })));
  }

  /**
   * @param {{good: number, bad?: number, out?: number, total: number}} parts of what the bar stands for
   */
  showBar({ good, bad = 0, out = 0, total }) {
    this.#bar ??= this.#addBar();
    const share = (/** @type {number} */ part) => `${total ? Math.min(100, (100 * part) / total) : 0}%`;
    find(this.#bar, ".try-out").style.width = share(out);
    find(this.#bar, ".try-good").style.width = share(good);
    find(this.#bar, ".try-bad").style.width = share(bad);
    this.#bar.setAttribute("aria-valuenow", String(total ? Math.floor((100 * (good + bad)) / total) : 0));
  }

  #addBar() {
    const bar = copyOf("try-bar");
    find(this.element, ".try-note").before(bar);
    return bar;
  }

  /**
   * A link at its foot; one of that name is made once.
   *
   * @param {string} name
   * @param {string} address
   */
  link(name, address) {
    const links = find(this.element, ".try-links");
    const made = [...links.querySelectorAll("a")].find((link) => link.textContent === name);
    const link = made ?? document.createElement("a");
    link.textContent = name;
    link.setAttribute("href", address);
    if (!made) links.append(link);
  }

  /** @param {string} id of a notification */
  linkLife(id) {
    this.link("Its life", `${this.addresses.lives}?id=${encodeURIComponent(id)}`);
  }

  /** @param {string} recipient */
  linkInbox(recipient) {
    this.link("Inbox", `${this.addresses.inbox}?recipient=${encodeURIComponent(recipient)}`);
  }

  /**
   * A button at its foot. While what it does is under way, pressing it again does nothing; what goes wrong is told.
   *
   * @param {string} name
   * @param {() => unknown} press
   */
  button(name, press) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "btn btn-sm";
    button.textContent = name;
    button.setAttribute("aria-label", `${name}: ${this.deed.title}`);
    button.addEventListener("click", async () => {
      if (button.getAttribute("aria-disabled") === "true") return;
      button.setAttribute("aria-disabled", "true");
      await this.attempt(press);
      button.removeAttribute("aria-disabled");
    });
    find(this.element, ".try-links").prepend(button);
    return button;
  }

  /**
   * Show a button or hide it; a focus that was on it goes to what it belongs to.
   *
   * @param {HTMLElement} element
   * @param {boolean} isThere
   */
  toggle(element, isThere) {
    const had = !isThere && element.contains(document.activeElement);
    element.hidden = !isThere;
    if (!had) return;
    const next = /** @type {HTMLElement | null} */ (this.element.querySelector(".try-links > :not([hidden])"));
    next?.focus();
  }

  /**
   * Do something, and tell what goes wrong with it.
   *
   * @param {() => unknown} act
   */
  async attempt(act) {
    const place = find(this.element, ".try-problem");
    setText(place, "");
    try {
      await act();
    } catch (error) {
      setText(place, error instanceof Problem ? sentence(error.message) : String(error));
    }
    // Whatever came of it, things are not as they were.
    this.#due = 0;
  }

  /**
   * There is no more to come.
   *
   * @param {string} said for those who do not see it
   */
  end(said) {
    if (this.deed.over) return;
    this.deed.over = true;
    this.#page.changed();
    this.#page.say(said);
  }

  /** @param {string} said what is to be told of it when the page is loaded again */
  keep(said) {
    this.deed.said = said;
    this.#page.changed();
  }

  /**
   * Look again and again, until there is nothing more to see or the item has left the page.
   *
   * @param {() => Promise<number | null>} look shows how it is; resolves to the ms until the next look, null: never
   * @param {() => void} [tick] what changes by the clock alone, between two looks
   */
  async follow(look, tick = () => {}) {
    let isTold = false;
    this.#due = 0;
    while (this.element.isConnected) {
      if (Date.now() >= this.#due && !document.hidden) {
        this.#due = Infinity;
        const { wait, trouble } = await this.#look(look);
        if (wait === null) return;
        isTold = !trouble;
        this.#due = Math.min(this.#due, Date.now() + wait);
      } else if (isTold) tick();
      await sleep(Math.min(TICK_MS, Math.max(LEAST_MS, this.#due - Date.now())));
    }
  }

  /**
   * @param {() => Promise<number | null>} look
   * @returns {Promise<{wait: number | null, trouble?: boolean}>}
   */
  async #look(look) {
    try {
      return { wait: await look() };
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status === 401) {
        this.show("unknown", "You are signed out: sign in again and reload this page.");
        return { wait: null };
      }
      if (!error.passes) {
        this.show("unknown", sentence(error.message));
        this.end(error.message);
        return { wait: null };
      }
      this.show("unknown", "The server does not answer. Looking again every two seconds.");
      return { wait: Math.max(TROUBLE_MS, error.retryAfterMs), trouble: true };
    }
  }
}

/** @param {string} id */
export function lifeOf(id) {
  return callAsStaff(`/api/notifications/${id}`);
}
