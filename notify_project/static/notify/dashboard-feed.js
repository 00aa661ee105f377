// @ts-check
/**
 * The frames of `/ws/dashboard/`, for members of staff. No DOM in here.
 *
 * A frame is a hint: it may get lost, so whoever listens asks now and then for what it wants to be sure of.
 *
 * Events, each a CustomEvent with this `detail`:
 *   live   boolean: whether frames come
 *   frame  {type: string}: one that came
 */

const BASE_MS = 1_000;
const CEILING_MS = 30_000;

const UNAUTHENTICATED = 4401;
const FOREIGN_ORIGIN = 4403;

export class DashboardFeed extends EventTarget {
  #server;
  #live = false;
  #failures = 0;

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
  }

  /** @param {string} text */
  #receive(text) {
    const frame = JSON.parse(text);
    if (frame.type === "hello") {
      this.#failures = 0;
      this.#setLive(true);
    } else {
      this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
    }
  }

  /** @param {number} code */
  #lost(code) {
    this.#setLive(false);
    if (code === UNAUTHENTICATED || code === FOREIGN_ORIGIN) return;
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
