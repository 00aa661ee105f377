// @ts-check
/** What `<notify-inbox>` shows of one inbox: the bell, the connection, the list. It lives in the element's shadow root. */

import { Problem } from "./api.js";
import { setText } from "./dom.js";
import { listen } from "./inbox-list.js";
import { InboxParts } from "./inbox-parts.js";
import { NoToken } from "./inbox-token.js";
import { NotificationItem } from "./notification-item.js";

/** @typedef {import("./inbox.js").InboxClient} InboxClient */
/** @typedef {import("./inbox.js").Notification} Notification */
/** @typedef {import("./inbox.js").Status} Status */
/** @typedef {import("./inbox-list.js").InboxList} InboxList */

const LARGEST_BADGE = 99;
const DRAW_MS = 40;
const COUNTDOWN_MS = 500;
/** A live region that spoke of every one of many would never be quiet. */
const SPEAK_MS = 2_000;

export class InboxView {
  #say;
  #parts;
  #click;
  /** @type {InboxClient | null} */
  #client = null;
  /** @type {InboxList | null} */
  #list = null;
  /** @type {Map<number, NotificationItem>} */
  #items = new Map();
  /** @type {Status | null} */
  #status = null;
  /** Null: not heard of yet. @type {number | null} */
  #unread = null;
  #drawing = false;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #countdown;
  #words = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #speaking;
  #day = today();

  /**
   * @param {ShadowRoot} root
   * @param {{say: (key: string, values?: Record<string, string | number>) => string, heading: string, bell: boolean,
   *   click: (notification: Notification) => boolean}} options  `bell`: the list is behind a bell, else it is there at
   *   once; `click` answers whether a click is to do what it does by itself
   */
  constructor(root, { say, heading, bell, click }) {
    this.#say = say;
    this.#click = click;
    this.#parts = new InboxParts(say, { heading, bell });
    this.#parts.onToggle = () => this.#look();
    this.#parts.readAll.addEventListener("click", () => this.#readAll());
    this.#parts.more.addEventListener("click", () => this.#list?.loadOlder());
    this.#parts.retry.addEventListener("click", () => this.#client?.retryNow());
    root.replaceChildren(...this.#parts.elements);
    this.#drawUnread();
  }

  /**
   * Show an inbox; before it is opened, as its first words count.
   *
   * @param {InboxClient} client
   * @param {InboxList} list
   */
  show(client, list) {
    this.#client = client;
    this.#list = list;
    listen(client, "status", (status) => this.#showStatus(status));
    listen(client, "unread", (count) => this.#showUnread(count));
    listen(client, "refused", (detail) => this.#showNotice(detail && this.#say("refused", { detail })));
    listen(client, "read", () => this.#showNotice(""));
    list.addEventListener("change", () => this.#drawSoon());
    this.#look();
  }

  /** Nothing of it is left running. */
  close() {
    clearInterval(this.#countdown);
    clearTimeout(this.#speaking);
    this.#client = this.#list = null;
  }

  /**
   * Without an inbox: why there is none.
   *
   * @param {string} reason
   */
  explain(reason) {
    setText(this.#parts.reason, reason);
    this.#parts.notes.hidden = reason === "";
    this.#parts.connection.hidden = true;
  }

  #look() {
    if (!this.#parts.open) return;
    this.#list?.begin();
    this.#draw();
  }

  /** @param {Status} status */
  #showStatus(status) {
    this.#status = status;
    clearInterval(this.#countdown);
    if (status.state === "live") this.#showNotice("");
    if (status.state === "waiting") this.#countdown = setInterval(() => this.#drawStatus(), COUNTDOWN_MS);
    this.#drawStatus();
    this.#drawUnread();
    this.#drawSoon();
  }

  #drawStatus() {
    if (this.#status === null) return;
    const { state, reason, detail, retryAt } = this.#status;
    const parts = this.#parts;
    const seconds = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    parts.connection.dataset.state = state;
    setText(parts.state, this.#say(state));
    setText(parts.reason, reason === "" ? "" : this.#say(reason, { detail }));
    // Outside of the live region: nobody wants every second read out.
    setText(parts.countdown, state === "waiting" ? this.#say("retrying", { seconds }) : "");
    toggle(parts.retry, state === "waiting", parts.panel);
    parts.notes.hidden = reason === "";
  }

  /** @param {number} count */
  #showUnread(count) {
    this.#unread = count;
    this.#drawUnread();
    this.#tellDay();
  }

  /** Of another day, the time alone says too little. At every heartbeat is often enough. */
  #tellDay() {
    if (this.#day === today()) return;
    this.#day = today();
    for (const item of this.#items.values()) item.showTime();
  }

  #drawUnread() {
    const { badge, bell, readAll } = this.#parts;
    const count = this.#unread ?? 0;
    const words = this.#unread === null ? "" : this.#say("unread", { count });
    const state = this.#status?.state ?? "connecting";
    const trouble = state === "waiting" || state === "stopped" ? this.#say(state) : "";
    badge.hidden = count === 0;
    setText(badge, count > LARGEST_BADGE ? `${LARGEST_BADGE}+` : String(count));
    bell.title = [words, trouble].filter(Boolean).join(", ");
    bell.dataset.state = state;
    const name = bell.title === "" ? this.#say("heading") : this.#say("bell", { unread: bell.title });
    if (bell.localName === "button") bell.setAttribute("aria-label", name);
    this.#speak(words);
    // Not `disabled`, which would take the keyboard's focus away.
    readAll.setAttribute("aria-disabled", String(!this.#client?.live || count === 0));
  }

  /** @param {string} words of the count */
  #speak(words) {
    this.#words = words;
    if (this.#speaking !== undefined || words === this.#parts.unread.textContent) return;
    setText(this.#parts.unread, words);
    this.#speaking = setTimeout(() => {
      this.#speaking = undefined;
      this.#speak(this.#words);
    }, SPEAK_MS);
  }

  #readAll() {
    if (this.#parts.readAll.getAttribute("aria-disabled") === "false") this.#marked(this.#client?.markAllRead());
  }

  /** @param {boolean | undefined} done */
  #marked(done) {
    if (!done) this.#showNotice(this.#say("notMarked"));
  }

  /** @param {string} text */
  #showNotice(text) {
    setText(this.#parts.notice, text);
  }

  /** Not for each that arrives, however fast they do; by the clock, as a tab in the background draws no frames. */
  #drawSoon() {
    if (this.#drawing || !this.#parts.open) return;
    this.#drawing = true;
    setTimeout(() => {
      this.#drawing = false;
      this.#draw();
    }, DRAW_MS);
  }

  #draw() {
    const list = this.#list;
    const { empty, loading, more, panel, problem } = this.#parts;
    const notifications = list?.newestFirst() ?? [];
    this.#drawItems(notifications);
    empty.hidden = !list?.loaded || notifications.length > 0;
    loading.hidden = !list || list.loaded || notifications.length > 0 || !list.loading;
    setText(more, this.#say(list?.failed ? "retryNow" : "loadMore"));
    more.setAttribute("aria-disabled", String(list?.loading ?? false));
    const older = list?.loaded ? list.hasOlder : (list?.failed ?? false);
    toggle(more, older, this.#parts.list.lastElementChild ?? panel);
    setText(problem, this.#wordsFor(list?.problem ?? null));
  }

  /** @param {unknown} error */
  #wordsFor(error) {
    if (error === null) return "";
    if (error instanceof NoToken) return this.#say(error.reason);
    if (error instanceof Problem && error.status === 0) return this.#say("noAnswer");
    return this.#say("problem", { detail: error instanceof Error ? error.message : String(error) });
  }

  /** @param {Notification[]} notifications */
  #drawItems(notifications) {
    const wanted = new Set(notifications.map(({ seq }) => seq));
    for (const seq of this.#items.keys()) if (!wanted.has(seq)) this.#items.delete(seq);
    let place = this.#parts.list.firstElementChild;
    for (const notification of notifications) {
      const item = this.#itemOf(notification);
      item.showRead(notification.read_at !== null);
      if (item.element === place) place = place.nextElementSibling;
      else this.#parts.list.insertBefore(item.element, place);
    }
    while (place !== null) {
      const following = place.nextElementSibling;
      place.remove();
      place = following;
    }
  }

  /** @param {Notification} notification */
  #itemOf(notification) {
    let item = this.#items.get(notification.seq);
    if (item === undefined) {
      item = new NotificationItem(notification, this.#say, {
        onRead: ({ id }) => this.#marked(this.#client?.markRead([id])),
        onClick: (clicked) => this.#clicked(clicked),
      });
      this.#items.set(notification.seq, item);
    }
    return item;
  }

  /** @param {Notification} notification */
  #clicked(notification) {
    if (!this.#click(notification)) return false;
    // What is read already has no button to mark it so.
    if (this.#items.get(notification.seq)?.unread) this.#marked(this.#client?.markRead([notification.id]));
    return true;
  }
}

function today() {
  return new Date().toDateString();
}

/**
 * Show a button or hide it; a focus that was on it goes where the keyboard can go on.
 *
 * @param {HTMLElement} button
 * @param {boolean} isThere
 * @param {Element | null} next
 */
function toggle(button, isThere, next) {
  const { activeElement } = /** @type {ShadowRoot} */ (button.getRootNode());
  if (!isThere && activeElement === button) /** @type {HTMLElement | null} */ (next)?.focus({ preventScroll: true });
  button.hidden = !isThere;
}
