// @ts-check
/** One notification as an item of a list. */

import { copyOf, find, setText, showTime } from "./dom.js";

/** @typedef {import("./inbox.js").Notification} Notification */

const LONG_CHARACTERS = 480;
const LONG_LINES = 8;
// Marks that turn the direction of what follows: in data they are shown as what they are.
const BIDI_MARKS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/**
 * @param {Notification} notification
 * @param {(id: string) => void} markRead
 * @returns {HTMLElement}
 */
export function buildItem(notification, markRead) {
  const item = copyOf("notification");
  setText(find(item, ".title"), notification.title);
  setText(find(item, ".type"), notification.type);
  find(item, ".type").title = notification.type;
  showTime(find(item, "time"), notification.accepted_at);
  showBody(item, notification.body);
  showData(find(item, "details"), notification.data);
  find(item, ".mark-read").addEventListener("click", () => markRead(notification.id));
  return item;
}

/**
 * @param {HTMLElement} item
 * @param {boolean} read
 */
export function showRead(item, read) {
  const button = find(item, ".mark-read");
  // The button goes away under the finger that pressed it; the keyboard's place in the list stays.
  if (read && button === document.activeElement) item.focus();
  item.classList.toggle("unread", !read);
  button.hidden = read;
  find(item, ".is-unread").hidden = read;
}

/**
 * @param {HTMLElement} item
 * @param {string} text
 */
function showBody(item, text) {
  const body = find(item, ".body");
  const toggle = find(item, ".toggle-body");
  setText(body, text);
  body.hidden = text === "";
  if (text.length <= LONG_CHARACTERS && text.split("\n").length <= LONG_LINES) return;
  const fold = (/** @type {boolean} */ folded) => {
    body.classList.toggle("folded", folded);
    toggle.setAttribute("aria-expanded", String(!folded));
    setText(toggle, folded ? "Show all" : "Show less");
  };
  toggle.hidden = false;
  toggle.addEventListener("click", () => fold(!body.classList.contains("folded")));
  fold(true);
}

/**
 * @param {HTMLDetailsElement} details
 * @param {object} data
 */
function showData(details, data) {
  details.hidden = Object.keys(data).length === 0;
  // Written out when somebody looks: 16 KiB of it, hundreds of times, would be slow for nothing.
  details.addEventListener("toggle", () => setText(find(details, "pre"), pretty(data)), { once: true });
}

/** @param {object} data */
function pretty(data) {
  const escaped = (/** @type {string} */ mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(data, null, 2).replace(BIDI_MARKS, escaped);
}
