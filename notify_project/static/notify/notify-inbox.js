// @ts-check
/**
 * `<notify-inbox>`: a recipient's notifications, for any page. This is the one file to include:
 *
 *   <script type="module" src="https://notify.example.org/static/notify/notify-inbox.js"></script>
 *   <notify-inbox token-url="/notify-token"></notify-inbox>
 *
 * Attributes, all of which may change at any time:
 *   token-url     an address of the page's own server that answers {"token", "expires_at"}; asked again when it expires
 *   token-method  GET (default) or POST: how it is asked
 *   token         a token, for a page that is reloaded before it expires
 *   server        where Notify is; by default where this file came from
 *   recipient     a name to show for a heading
 *   mode          "bell" (default): a button that opens the list; "panel": the list itself
 *   details       also show each notification's type and data, for those who build on it
 *   theme         "light" or "dark"; by default the `color-scheme` of what is around it
 *
 * Properties:
 *   getToken      () => Promise<{token, expires_at}>: instead of `token-url`
 *   labels        other words, by the names in inbox-labels.js
 *   unread        how many are unread (read only)
 *
 * Events, which bubble:
 *   notify-unread        detail {unread}: the count, whenever it changes
 *   notify-notification  detail {notification}: a new one, exactly once
 *   notify-click         detail {notification}: a title was pressed; unless it is cancelled, that is marked read
 */

import { InboxClient } from "./inbox.js";
import { wording } from "./inbox-labels.js";
import { InboxList, listen } from "./inbox-list.js";
import { styleSheet } from "./inbox-styles.js";
import { fetchToken, onlyOnce } from "./inbox-token.js";
import { InboxView } from "./inbox-view.js";

/** @typedef {import("./inbox.js").Token} Token */
/** @typedef {import("./inbox-labels.js").Label} Label */

const PROPERTIES = ["getToken", "labels"];

export class NotifyInbox extends HTMLElement {
  static observedAttributes = ["token-url", "token-method", "token", "server", "recipient", "mode"];

  #root = this.attachShadow({ mode: "open" });
  /** @type {(() => Promise<Token>) | null} */
  #getToken = null;
  /** @type {Record<string, Label>} */
  #labels = {};
  /** @type {InboxClient | null} */
  #client = null;
  /** @type {InboxView | null} */
  #view = null;
  #starting = false;
  #unread = 0;
  /** Takes what listens to the window away again. */
  #listening = new AbortController();

  constructor() {
    super();
    this.#root.adoptedStyleSheets = [styleSheet()];
  }

  get getToken() {
    return this.#getToken;
  }

  set getToken(value) {
    this.#getToken = value;
    this.#startSoon();
  }

  get labels() {
    return this.#labels;
  }

  set labels(value) {
    this.#labels = value ?? {};
    this.#startSoon();
  }

  get unread() {
    return this.#unread;
  }

  connectedCallback() {
    for (const name of PROPERTIES) this.#adopt(name);
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    const check = () => this.#client?.check();
    for (const name of ["online", "offline", "pageshow"]) window.addEventListener(name, check, { signal });
    document.addEventListener("visibilitychange", () => document.hidden || check(), { signal });
    this.#startSoon();
  }

  disconnectedCallback() {
    this.#listening.abort();
    this.#stop();
  }

  /**
   * @param {string} _name
   * @param {string | null} before
   * @param {string | null} now
   */
  attributeChangedCallback(_name, before, now) {
    if (before !== now) this.#startSoon();
  }

  /**
   * A property that was set before this file was here hides the one of the class.
   *
   * @param {string} name
   */
  #adopt(name) {
    /** @type {any} */
    const self = this;
    if (!Object.hasOwn(self, name)) return;
    const value = self[name];
    delete self[name];
    self[name] = value;
  }

  /** Once for all that changes together. */
  #startSoon() {
    if (this.#starting || !this.isConnected) return;
    this.#starting = true;
    queueMicrotask(() => {
      this.#starting = false;
      if (this.isConnected) this.#start();
    });
  }

  #start() {
    this.#stop();
    const say = wording(this.#labels);
    const view = new InboxView(this.#root, {
      say,
      heading: this.getAttribute("recipient") || say("heading"),
      bell: this.getAttribute("mode") !== "panel",
      click: (notification) => this.#tell("notify-click", { notification }, true),
    });
    this.#view = view;
    const getToken = this.#tokenSource();
    const server = serverOf(this.getAttribute("server"));
    if (getToken === null || server === null) return view.explain(say(server === null ? "noServer" : "noToken"));
    const client = new InboxClient({ getToken, server });
    listen(client, "unread", (count) => this.#count(count));
    listen(client, "notification", (notification) => this.#tell("notify-notification", { notification }));
    view.show(client, new InboxList(client));
    this.#client = client;
    return client.open();
  }

  #stop() {
    this.#client?.close();
    this.#view?.close();
    this.#client = this.#view = null;
    this.#count(0);
    this.#root.replaceChildren();
  }

  /** How a token comes by; null when the page has not said so. */
  #tokenSource() {
    const address = this.getAttribute("token-url");
    const token = this.getAttribute("token");
    if (this.#getToken !== null) return this.#getToken;
    if (address !== null) return () => fetchToken(address, this.getAttribute("token-method") ?? "GET");
    return token === null ? null : onlyOnce(token);
  }

  /** @param {number} unread */
  #count(unread) {
    if (unread === this.#unread) return;
    this.#unread = unread;
    this.#tell("notify-unread", { unread });
  }

  /**
   * @param {string} name
   * @param {object} detail
   * @param {boolean} [cancelable]
   * @returns {boolean} false when somebody cancelled it
   */
  #tell(name, detail, cancelable = false) {
    return this.dispatchEvent(new CustomEvent(name, { detail, cancelable, bubbles: true, composed: true }));
  }
}

/**
 * @param {string | null} address
 * @returns {URL | null} null when it is none
 */
function serverOf(address) {
  if (!address) return new URL(import.meta.url);
  if (!URL.canParse(address, document.baseURI)) return null;
  const server = new URL(address, document.baseURI);
  return /^https?:$/.test(server.protocol) ? server : null;
}

// A page may include this twice, from two addresses: the first one serves.
if (!customElements.get("notify-inbox")) customElements.define("notify-inbox", NotifyInbox);
