// @ts-check
/** The panel that watches one recipient's inbox: which one, the bell, the connection, the list. */

import { callAsStaff, Problem } from "./api.js";
import { find, setText } from "./dom.js";
import { InboxClient } from "./inbox.js";
import { InboxList, listen } from "./inbox-list.js";
import { buildItem, showRead } from "./notification-item.js";

/** @typedef {import("./inbox.js").Status} Status */

const TITLE = document.title;
const LARGEST_BADGE = 99;
const DRAW_MS = 40;

export class InboxView {
  #panel;
  /** @type {InboxClient | null} */
  #client = null;
  /** @type {InboxList | null} */
  #list = null;
  /** @type {Map<number, HTMLElement>} */
  #items = new Map();
  /** @type {Status | null} */
  #status = null;
  #drawing = false;

  /** @param {HTMLElement} panel */
  constructor(panel) {
    this.#panel = panel;
    const form = find(panel, "form");
    form.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      this.watch(form.elements.recipient.value.trim());
    });
    find(panel, ".read-all").addEventListener("click", () => this.#client?.markAllRead());
    find(panel, ".load-older").addEventListener("click", () => this.#list?.loadOlder());
    find(panel, ".retry").addEventListener("click", () => this.#client?.retryNow());
    window.addEventListener("online", () => this.#client?.retryNow());
    setInterval(() => this.#drawStatus(), 500);
  }

  /** The recipient that is watched; empty when none is. */
  recipient = "";

  /**
   * Watch another inbox.
   *
   * @param {string} recipient
   */
  watch(recipient) {
    this.#client?.close();
    this.#items.clear();
    this.recipient = recipient;
    find(this.#panel, "form").elements.recipient.value = recipient;
    find(this.#panel, ".empty").hidden = recipient !== "";
    find(this.#panel, ".inbox").hidden = recipient === "";
    setText(find(this.#panel, ".whose"), recipient);
    remember(recipient);
    this.#client = this.#list = null;
    this.#showUnread(0);
    this.#showNotice("");
    if (recipient !== "") this.#open(recipient);
    this.#draw();
  }

  /** @param {string} recipient */
  #open(recipient) {
    const client = new InboxClient({ getToken: () => tokenOf(recipient), server: location.origin });
    const list = new InboxList(client);
    listen(client, "status", (status) => this.#showStatus(status));
    listen(client, "unread", (count) => this.#showUnread(count));
    listen(client, "refused", (detail) => this.#showNotice(`The server says: ${detail}.`));
    listen(client, "read", () => this.#showNotice(""));
    list.addEventListener("change", () => this.#drawSoon());
    this.#client = client;
    this.#list = list;
    client.open();
  }

  /** @param {Status} status */
  #showStatus(status) {
    this.#status = status;
    this.#drawStatus();
  }

  #drawStatus() {
    if (this.#status === null) return;
    const { state, reason, retryAt } = this.#status;
    const seconds = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    const label = { connecting: "connecting", live: "live", waiting: "offline", stopped: "stopped" }[state];
    find(this.#panel, ".connection").dataset.state = state;
    setText(find(this.#panel, ".connection-state"), label);
    setText(find(this.#panel, ".connection-reason"), reason);
    // Outside of the live region: nobody wants every second read out.
    setText(find(this.#panel, ".connection-retry"), state === "waiting" ? `Retrying in ${seconds} s.` : "");
    find(this.#panel, ".retry").hidden = state !== "waiting";
    find(this.#panel, ".connection-notes").hidden = reason === "";
    this.#drawReadAll();
  }

  /** @param {number} count */
  #showUnread(count) {
    const badge = find(this.#panel, ".badge");
    badge.hidden = count === 0;
    setText(badge, count > LARGEST_BADGE ? `${LARGEST_BADGE}+` : String(count));
    badge.title = `${count} unread`;
    setText(find(this.#panel, ".unread-count"), this.recipient === "" ? "" : `${count} unread`);
    document.title = count === 0 ? TITLE : `(${count}) ${TITLE}`;
    this.#drawReadAll();
  }

  #drawReadAll() {
    find(this.#panel, ".read-all").disabled = !this.#client?.live || this.#client.unread === 0;
  }

  /** @param {string} text */
  #showNotice(text) {
    setText(find(this.#panel, ".inbox-notice"), text);
  }

  /** Not for each that arrives, however fast they do; by the clock, as a tab in the background draws no frames. */
  #drawSoon() {
    if (this.#drawing) return;
    this.#drawing = true;
    setTimeout(() => {
      this.#drawing = false;
      this.#draw();
    }, DRAW_MS);
  }

  #draw() {
    const list = this.#list;
    const notifications = list?.newestFirst() ?? [];
    this.#drawItems(notifications);
    find(this.#panel, ".nothing-yet").hidden = !list?.loaded || notifications.length > 0;
    find(this.#panel, ".load-older").hidden = !list?.loaded || !list.hasOlder;
    find(this.#panel, ".load-older").disabled = list?.loading ?? false;
    setText(find(this.#panel, ".list-problem"), list?.problem ?? "");
  }

  /** @param {import("./inbox.js").Notification[]} notifications */
  #drawItems(notifications) {
    const list = find(this.#panel, ".notifications");
    const wanted = new Set(notifications.map(({ seq }) => seq));
    for (const seq of this.#items.keys()) if (!wanted.has(seq)) this.#items.delete(seq);
    let place = list.firstElementChild;
    for (const notification of notifications) {
      const item = this.#itemOf(notification);
      showRead(item, notification.read_at !== null);
      if (item === place) place = place.nextElementSibling;
      else list.insertBefore(item, place);
    }
    while (place !== null) {
      const following = place.nextElementSibling;
      place.remove();
      place = following;
    }
  }

  /** @param {import("./inbox.js").Notification} notification */
  #itemOf(notification) {
    let item = this.#items.get(notification.seq);
    if (item === undefined) {
      item = buildItem(notification, (id) => this.#client?.markRead([id]));
      this.#items.set(notification.seq, item);
    }
    return item;
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
function remember(recipient) {
  const address = new URL(location.href);
  if (recipient === "") address.searchParams.delete("recipient");
  else address.searchParams.set("recipient", recipient);
  history.replaceState(null, "", address);
}
