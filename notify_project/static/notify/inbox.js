// @ts-check
/**
 * One recipient's inbox, live: Notify's WebSocket protocol `notify.v1` and the pages of the HTTP API. No DOM in here.
 *
 * A frame is a hint. It may get lost, come twice or out of order; `seq` has no gaps in an inbox and makes it whole:
 * what is here already is dropped, and where something is missing, `resume` fetches it. Reads have no `seq`, so
 * whenever some may have been missed the client says `stale`, and whoever shows notifications asks for their state.
 *
 * Events, each a CustomEvent with this `detail`:
 *   status        Status: what the connection does
 *   notification  Notification: a new one, exactly once
 *   unread        number: how many are unread
 *   read          string[] or "all": marked read, here or elsewhere
 *   stale         null: what was loaded before may have been read meanwhile
 *   refused       string: the server did not do what it was asked to; empty: it did after all
 */

import { Problem, call, parseExactly } from "./api.js";
import { NoToken, tokenIn } from "./inbox-token.js";
import { Seqs } from "./seqs.js";

/**
 * @typedef {{id: string, recipient: string, seq: number, type: string, title: string, body: string,
 *   data: object, accepted_at: string, stored_at: string, read_at: string | null}} Notification
 * @typedef {{token: string, expires_at: string}} Token
 * @typedef {"connecting" | "live" | "waiting" | "stopped"} State
 * @typedef {"" | "lost" | "notReady" | "tooMany" | "foreignOrigin" | "badToken" | "tokenExpired" | "noToken" | "noAnswer" |
 *   "problem"} Reason
 * @typedef {{state: State, reason: Reason, detail: string, retryAt: number}} Status  `detail`: what a Problem said;
 *   `retryAt`: milliseconds since 1970, while waiting
 * @typedef {{results: Notification[], next: string | null}} Page
 */

const BASE_MS = 1_000;
const CEILING_MS = 30_000;
const SLOW_MS = 60_000;
const ANSWER_MS = 10_000;
const CHECK_MS = 3_000;
const RESUME_AGAIN_MS = 3_000;
const MAX_IDS = 1000;

const UNAUTHENTICATED = 4401;
const FOREIGN_ORIGIN = 4403;
const TOKEN_EXPIRED = 4408;
const TOO_MANY = 4429;
const TRY_LATER = 4503;
const LOST = 1006;

export class InboxClient extends EventTarget {
  #server;
  #getToken;
  /** Null: ask for a new one. @type {string | null} */
  #token = null;
  /** A request for a token under way: whoever needs one meanwhile waits for the same. @type {Promise<string> | null} */
  #asking = null;
  /** Whether a socket was opened with this token, so that a refusal may only mean that it has expired since. */
  #tokenWorked = false;
  /** @type {WebSocket | null} */
  #socket = null;
  #live = false;
  #seqs = new Seqs();
  #resuming = false;
  #unread = 0;
  #failures = 0;
  #heartbeatMs = 30_000;
  /** Counts attempts; what an earlier one still waited for is dropped. */
  #attempt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #silenceTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #resumeTimer;

  /**
   * @param {{getToken: () => Promise<Token>, server: string | URL}} options  `getToken` rejects with a Problem, or with
   *   NoToken; whatever else it rejects with is expected to pass. `server` is where Notify is, such as `location.origin`
   */
  constructor({ getToken, server }) {
    super();
    this.#getToken = getToken;
    this.#server = new URL(server);
  }

  get unread() {
    return this.#unread;
  }

  get live() {
    return this.#live;
  }

  /** Connect, and stay connected until `close`. */
  open() {
    this.#connect();
  }

  /** Disconnect for good. */
  close() {
    this.#disconnect();
    this.#attempt += 1;
  }

  /** Connect now instead of later: somebody asks for it. */
  retryNow() {
    if (this.#retryTimer !== undefined) this.#connect();
  }

  /** The network has changed, or the tab slept: connect now, or see whether the connection still stands. */
  check() {
    if (this.#live) this.#ask(CHECK_MS);
    else this.retryNow();
  }

  /**
   * Mark notifications read; the server tells every socket of the recipient, and this one by a `read` event. False
   * when there is no connection.
   *
   * @param {string[]} ids
   */
  markRead(ids) {
    if (!this.#live) return false;
    for (let start = 0; start < ids.length; start += MAX_IDS) {
      this.#send({ type: "read", ids: ids.slice(start, start + MAX_IDS) });
    }
    return true;
  }

  /** Mark everything read. False when there is no connection. */
  markAllRead() {
    if (this.#live) this.#send({ type: "read", all: true });
    return this.#live;
  }

  /**
   * A page of the inbox, newest first. Rejects with a Problem.
   *
   * @param {{cursor?: string | null, unread?: boolean, limit?: number}} query
   * @returns {Promise<Page>}
   */
  async page({ cursor, unread = false, limit = 20 }) {
    const address = new URL("/api/notifications", this.#server);
    address.searchParams.set("limit", String(limit));
    if (unread) address.searchParams.set("unread", "true");
    if (cursor) address.searchParams.set("cursor", cursor);
    try {
      return await call(address, await this.#bearer());
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 401) throw error;
      this.#token = null;
      return call(address, await this.#bearer());
    }
  }

  async #bearer() {
    // Without cookies: the token alone says who asks, as it will on a page that is not Notify's.
    return { headers: { Authorization: `Bearer ${await this.#currentToken()}` }, credentials: /** @type {const} */ ("omit") };
  }

  async #currentToken() {
    if (this.#token !== null) return this.#token;
    this.#asking ??= this.#newToken().finally(() => (this.#asking = null));
    return this.#asking;
  }

  async #newToken() {
    const token = tokenIn(await this.#getToken());
    this.#token = token;
    this.#tokenWorked = false;
    return token;
  }

  async #connect() {
    this.#disconnect();
    const attempt = (this.#attempt += 1);
    this.#say("status", status("connecting"));
    let token;
    try {
      token = await this.#currentToken();
    } catch (error) {
      if (attempt === this.#attempt) this.#noToken(error);
      return;
    }
    if (attempt === this.#attempt) this.#openSocket(token);
  }

  /** @param {string} token */
  #openSocket(token) {
    const address = new URL("/ws/inbox/", this.#server);
    address.protocol = address.protocol.replace("http", "ws");
    let socket;
    try {
      socket = new WebSocket(address, ["notify.v1", `bearer.${token}`]);
    } catch {
      return this.#stop("badToken"); // not even written like one
    }
    socket.onmessage = (message) => this.#heard(message.data);
    socket.onclose = (closed) => this.#closed(closed.code);
    this.#socket = socket;
    this.#silenceTimer = setTimeout(() => this.#closed(LOST), ANSWER_MS);
    return undefined;
  }

  /** Let go of socket and timers. A socket whose network is gone takes its time to close: nobody waits for it. */
  #disconnect() {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#silenceTimer);
    clearTimeout(this.#resumeTimer);
    this.#retryTimer = undefined;
    this.#live = this.#resuming = false;
    if (this.#socket) {
      this.#socket.onmessage = this.#socket.onclose = null;
      this.#socket.close();
    }
    this.#socket = null;
  }

  /** @param {unknown} error */
  #noToken(error) {
    if (error instanceof NoToken) return this.#stop(error.reason);
    const problem = error instanceof Problem ? error : new Problem(500, error instanceof Error ? error.message : String(error));
    const reason = problem.status === 0 ? "noAnswer" : "problem";
    if (!problem.passes) return this.#stop(reason, problem.message);
    return this.#retryIn(Math.max(this.#backOff(), problem.retryAfterMs), reason, problem.message);
  }

  /** @param {number} code */
  #closed(code) {
    this.#disconnect();
    switch (code) {
      case FOREIGN_ORIGIN:
        return this.#stop("foreignOrigin");
      case UNAUTHENTICATED:
        if (!this.#tokenWorked) return this.#stop("badToken");
        return this.#renewToken();
      case TOKEN_EXPIRED:
        if (this.#tokenWorked) return this.#renewToken();
        // Whoever hands out tokens hands out old ones, and would be asked without end.
        this.#token = null;
        return this.#retryIn(this.#backOff(), "tokenExpired");
      case TOO_MANY:
        return this.#retryIn(SLOW_MS * (0.5 + Math.random() / 2), "tooMany");
      case TRY_LATER:
        return this.#retryIn(this.#backOff(), "notReady");
      default:
        return this.#retryIn(this.#backOff(), "lost");
    }
  }

  #renewToken() {
    this.#token = null;
    this.#connect();
  }

  /**
   * @param {Reason} reason
   * @param {string} [detail]
   */
  #stop(reason, detail = "") {
    this.#say("status", status("stopped", reason, detail));
  }

  /**
   * @param {number} waitMs
   * @param {Reason} reason
   * @param {string} [detail]
   */
  #retryIn(waitMs, reason, detail = "") {
    this.#retryTimer = setTimeout(() => this.#connect(), waitMs);
    this.#say("status", status("waiting", reason, detail, Date.now() + waitMs));
  }

  /** Exponential, with full jitter: when a server returns, its clients do not all come in the same second. */
  #backOff() {
    const longest = Math.min(CEILING_MS, BASE_MS * 2 ** this.#failures);
    this.#failures += 1;
    return Math.random() * longest;
  }

  /** @param {string} text */
  #heard(text) {
    this.#listen();
    const frame = parseExactly(text);
    switch (frame.type) {
      case "hello":
        return this.#hello(frame);
      case "notification":
        return this.#arrived(frame);
      case "read":
        this.#setUnread(frame.unread);
        return this.#say("read", frame.ids);
      case "sync":
        return this.#sync(frame);
      case "resumed":
        return this.#resumed(frame);
      case "error":
        return this.#refused(frame);
      default:
        return undefined; // `pong`, and what later servers may say
    }
  }

  /** The server speaks at every heartbeat. When it is silent for longer, ask; when it does not answer, it is gone. */
  #listen() {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => this.#ask(ANSWER_MS), this.#heartbeatMs + ANSWER_MS / 2);
  }

  /** @param {number} waitMs */
  #ask(waitMs) {
    clearTimeout(this.#silenceTimer);
    this.#send({ type: "ping" });
    this.#silenceTimer = setTimeout(() => this.#closed(LOST), waitMs);
  }

  /** @param {{unread: number, seq: number, heartbeat: number}} frame */
  #hello({ unread, seq, heartbeat }) {
    this.#live = this.#tokenWorked = true;
    this.#failures = 0;
    this.#heartbeatMs = heartbeat * 1000;
    this.#say("status", status("live"));
    this.#setUnread(unread);
    if (!this.#seqs.known) this.#seqs.reach(seq);
    else if (seq > this.#seqs.last || this.#seqs.hasGap) this.#resume();
    this.#say("stale", null);
  }

  /** @param {{notification: Notification, unread: number}} frame */
  #arrived({ notification, unread }) {
    // A count that comes with an older notification is older too, unless the server has just looked it up.
    if (notification.seq >= this.#seqs.newest || this.#resuming) this.#setUnread(unread);
    if (this.#seqs.take(notification.seq)) this.#say("notification", notification);
    if (this.#seqs.hasGap) this.#resume();
  }

  /** @param {{unread: number, seq: number}} frame */
  #sync({ unread, seq }) {
    if (seq > this.#seqs.last) return this.#resume();
    if (seq < this.#seqs.newest) return undefined; // looked up before the newest came in
    if (unread === 0) this.#say("read", "all");
    else if (unread !== this.#unread) this.#say("stale", null);
    return this.#setUnread(unread);
  }

  #resume() {
    if (this.#resuming || !this.#live) return;
    this.#resuming = true;
    this.#send({ type: "resume", after: this.#seqs.last });
  }

  /** @param {{seq: number, complete: boolean}} frame */
  #resumed({ seq, complete }) {
    this.#seqs.reach(seq);
    this.#resuming = false;
    this.#say("refused", "");
    if (!complete || this.#seqs.hasGap) this.#resume();
  }

  /** @param {{detail: string}} frame */
  #refused({ detail }) {
    if (this.#resuming) {
      this.#resuming = false;
      this.#resumeTimer = setTimeout(() => this.#resume(), RESUME_AGAIN_MS * (0.5 + Math.random()));
    }
    this.#say("refused", detail);
  }

  /** @param {number} unread */
  #setUnread(unread) {
    this.#unread = unread;
    this.#say("unread", unread);
  }

  /** @param {object} message */
  #send(message) {
    // A socket that is closing takes no more; what was meant to be said is said after the next hello.
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  /**
   * @param {string} name
   * @param {unknown} detail
   */
  #say(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/**
 * @param {State} state
 * @param {Reason} [reason]
 * @param {string} [detail]
 * @param {number} [retryAt]
 * @returns {Status}
 */
function status(state, reason = "", detail = "", retryAt = 0) {
  return { state, reason, detail, retryAt };
}
