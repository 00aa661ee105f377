// @ts-check
/**
 * The frames of `/ws/dashboard/`, for members of staff. No DOM in here.
 *
 * A frame is a hint: it may get lost, so whoever listens asks now and then for what it wants to be sure of.
 *
 * Events, each a CustomEvent with this `detail`:
 *   live     boolean: whether frames come
 *   frame    {type: string}: one that came
 *   refused  number: the close code of a refusal for good; signing in, and loading the page again, is what helps
 */

const BASE_MS = 1_000;
const CEILING_MS = 30_000;
/** `flow` comes once a second at least: so long without any frame, nothing will come on this socket any more. */
const SILENCE_MS = 5_000;
const LOOK_MS = 1_000;

const UNAUTHENTICATED = 4401;
const FOREIGN_ORIGIN = 4403;

export class DashboardFeed extends EventTarget {
  #server;
  #live = false;
  #failures = 0;
  #heardAt = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #watch;
  /** @type {WebSocket | undefined} */
  #socket;

  /** @param {string | URL} server where Notify is, such as `location.origin` */
  constructor(server) {
    super();
    this.#server = new URL(server);
  }

  get live() {
    return this.#live;
  }

  /** Connect, and again after each loss, unless it is refused for good. */
  start() {
    const address = new URL("/ws/dashboard/", this.#server);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code }) => this.#lost(code);
    this.#socket = socket;
    this.#heardAt = performance.now();
    this.#watch = setInterval(() => this.#look(), LOOK_MS);
  }

  /** @param {string} text */
  #receive(text) {
    this.#heardAt = performance.now();
    const frame = JSON.parse(text);
    if (frame.type === "hello") this.#failures = 0;
    this.#setLive(true);
    if (frame.type !== "hello") this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
  }

  /** A connection whose other end went away without a word is not closed for long: leave it, and make another. */
  #look() {
    if (!this.#socket || performance.now() - this.#heardAt < SILENCE_MS) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#lost(0);
  }

  /** @param {number} code */
  #lost(code) {
    clearInterval(this.#watch);
    this.#socket = undefined;
    this.#setLive(false);
    if (code === UNAUTHENTICATED || code === FOREIGN_ORIGIN) {
      this.dispatchEvent(new CustomEvent("refused", { detail: code }));
      return;
    }
    // Exponential, with full jitter: when a server returns, its browsers do not all come in the same second.
    const longest = Math.min(CEILING_MS, BASE_MS * 2 ** this.#failures);
    this.#failures += 1;
    setTimeout(() => this.start(), longest * (0.5 + Math.random() / 2));
  }

  /** @param {boolean} live */
  #setLive(live) {
    if (live === this.#live) return;
    this.#live = live;
    this.dispatchEvent(new CustomEvent("live", { detail: live }));
  }
}

/** @type {DashboardFeed | undefined} */
let shared;

/** The one feed of this page, started by the first who asks: its parts share a socket. */
export function pageFeed() {
  if (!shared) {
    shared = new DashboardFeed(location.origin);
    shared.start();
  }
  return shared;
}
