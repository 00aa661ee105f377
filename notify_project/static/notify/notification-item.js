// @ts-check
/** One notification as an item of a list. */

import { setText, showTime } from "./dom.js";
import { button, element } from "./inbox-elements.js";

/** @typedef {import("./inbox.js").Notification} Notification */
/** @typedef {(key: string, values?: Record<string, string | number>) => string} Say */
/** @typedef {{onRead: (notification: Notification) => void, onClick: (notification: Notification) => boolean}} Handlers */

const LONG_CHARACTERS = 480;
const LONG_LINES = 8;
// Marks that turn the direction of what follows: in data they are shown as what they are.
const BIDI_MARKS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

export class NotificationItem {
  #notification;
  #say;
  #unread;
  #markRead;
  #time = element("time", { part: "time" });

  /**
   * @param {Notification} notification
   * @param {Say} say
   * @param {Handlers} handlers  `onClick` answers whether the rest, showing all of the text, is to be done
   */
  constructor(notification, say, { onRead, onClick }) {
    this.#notification = notification;
    this.#say = say;
    this.#unread = element("span", { class: "is-unread", part: "unread-mark" });
    this.#unread.append(element("span", { class: "visually-hidden" }, say("unreadItem")));
    this.#markRead = button("mark-read quiet", "button mark-read", say("markRead"));
    this.#markRead.addEventListener("click", () => onRead(notification));
    const { body, toggle, unfold } = this.#body();
    const head = element("div", { class: "head" }, this.#unread, this.#title(() => onClick(notification) && unfold()));
    head.append(this.#time);
    this.showTime();
    this.element = element("li", { class: "notification", part: "item", tabindex: "-1" }, head, body, toggle, this.#foot());
  }

  get unread() {
    return !this.#unread.hidden;
  }

  /** As it reads today. */
  showTime() {
    showTime(this.#time, this.#notification.accepted_at);
  }

  /** @param {boolean} read */
  showRead(read) {
    // The button goes away under the finger that pressed it; the keyboard's place in the list stays.
    const { activeElement } = /** @type {ShadowRoot} */ (this.element.getRootNode());
    if (read && activeElement === this.#markRead) this.element.focus();
    this.element.classList.toggle("unread", !read);
    this.element.part.toggle("unread", !read);
    this.#markRead.hidden = this.#unread.hidden = read;
  }

  /** @param {() => void} press */
  #title(press) {
    const title = button("open", "title", "");
    title.append(element("bdi", { class: "title" }, this.#notification.title));
    title.addEventListener("click", press);
    return title;
  }

  #body() {
    const text = this.#notification.body;
    const body = element("p", { class: "body", part: "body", dir: "auto", hidden: text === "" }, text);
    const toggle = button("toggle-body link", "button", "");
    const long = text.length > LONG_CHARACTERS || text.split("\n").length > LONG_LINES;
    const fold = (/** @type {boolean} */ folded) => {
      body.classList.toggle("folded", folded);
      toggle.setAttribute("aria-expanded", String(!folded));
      setText(toggle, this.#say(folded ? "showAll" : "showLess"));
    };
    toggle.hidden = !long;
    toggle.addEventListener("click", () => fold(!body.classList.contains("folded")));
    if (long) fold(true);
    return { body, toggle, unfold: () => long && fold(false) };
  }

  #foot() {
    const { type } = this.#notification;
    const foot = element("div", { class: "foot" }, element("span", { class: "type", part: "type", title: type }, type));
    foot.append(this.#markRead, this.#data());
    return foot;
  }

  #data() {
    const { data } = this.#notification;
    const written = element("pre", { part: "data", dir: "ltr" });
    const summary = element("summary", {}, this.#say("data"));
    const details = element("details", { hidden: Object.keys(data).length === 0 }, summary, written);
    // Written out when somebody looks: 16 KiB of it, hundreds of times, would be slow for nothing.
    details.addEventListener("toggle", () => setText(written, pretty(data)), { once: true });
    return details;
  }
}

/** @param {object} data */
function pretty(data) {
  const escaped = (/** @type {string} */ mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(data, null, 2).replace(BIDI_MARKS, escaped);
}
