// @ts-check
/** The panel that watches one recipient's inbox: a form, those watched lately, and the very element customers use. */

import { callAsStaff, Problem } from "./api.js";
import { copyOf, find, setText } from "./dom.js";
import "./notify-inbox.js";

/** @typedef {import("./notify-inbox.js").NotifyInbox} NotifyInbox */

const TITLE = document.title;
const RECENT = "notify-recent-recipients";
const MOST_RECENT = 8;

export class InboxChooser {
  #panel;
  #form;
  /** @type {NotifyInbox} */
  #inbox;
  /** Where nothing can be kept, it is known for as long as the page lives. @type {string[]} */
  #recent = readRecent();

  /** @param {HTMLElement} panel */
  constructor(panel) {
    this.#panel = panel;
    this.#form = find(panel, "form");
    this.#inbox = find(panel, "notify-inbox");
    this.#form.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      this.watch(this.#form.elements.recipient.value.trim());
    });
    this.#inbox.addEventListener("notify-unread", (event) => {
      const { unread } = /** @type {CustomEvent} */ (event).detail;
      document.title = unread === 0 ? TITLE : `(${unread}) ${TITLE}`;
    });
    this.#drawRecent();
  }

  /**
   * Watch another inbox; an empty name is nobody's.
   *
   * @param {string} recipient
   */
  watch(recipient) {
    this.#form.elements.recipient.value = recipient;
    find(this.#panel, ".empty").hidden = recipient !== "";
    this.#inbox.hidden = recipient === "";
    this.#inbox.setAttribute("recipient", recipient);
    // Also where it is the same as before: whoever asks again wants it tried again.
    this.#inbox.getToken = recipient === "" ? null : () => tokenOf(recipient);
    keepInAddress(recipient);
    if (recipient !== "") this.#keepAsRecent(recipient);
  }

  /** @param {string} recipient */
  #keepAsRecent(recipient) {
    this.#recent = [recipient, ...this.#recent.filter((other) => other !== recipient)].slice(0, MOST_RECENT);
    try {
      localStorage.setItem(RECENT, JSON.stringify(this.#recent));
    } catch {
      // no room, or not allowed
    }
    this.#drawRecent();
  }

  #drawRecent() {
    const buttons = this.#recent.map((recipient) => {
      const item = copyOf("recent-recipient");
      setText(find(item, "bdi"), recipient);
      find(item, "button").addEventListener("click", () => this.watch(recipient));
      return item;
    });
    const focused = this.#panel.querySelector(".recent-list")?.contains(document.activeElement);
    find(this.#panel, ".recent-list").replaceChildren(...buttons);
    find(this.#panel, ".recent").hidden = buttons.length === 0;
    // The one that was pressed is the first now.
    if (focused) find(this.#panel, ".recent-list button").focus();
  }
}

/** @returns {string[]} */
function readRecent() {
  try {
    const kept = JSON.parse(localStorage.getItem(RECENT) ?? "[]");
    return Array.isArray(kept) ? kept.filter((name) => typeof name === "string").slice(0, MOST_RECENT) : [];
  } catch {
    return [];
  }
}

/**
 * Staff may open any inbox; what they get is the token that the recipient's own browser would have.
 *
 * @param {string} recipient
 */
async function tokenOf(recipient) {
  try {
    return await callAsStaff(`/api/recipients/${encodeURIComponent(recipient)}/token`, { method: "POST" });
  } catch (error) {
    throw explained(error);
  }
}

/** @param {unknown} error */
function explained(error) {
  // What is no text in Unicode cannot be written in an address.
  if (!(error instanceof Problem)) return new Problem(400, "No recipient has such a name.");
  if (error.status === 401) return new Problem(401, "You are signed out. Sign in again, then watch again.");
  if (error.errors.length === 0) return error;
  return new Problem(error.status, `A recipient ${error.errors[0].detail}.`);
}

/**
 * In the address, so that a reload shows the same inbox.
 *
 * @param {string} recipient
 */
function keepInAddress(recipient) {
  const address = new URL(location.href);
  if (recipient === "") address.searchParams.delete("recipient");
  else address.searchParams.set("recipient", recipient);
  history.replaceState(null, "", address);
}
