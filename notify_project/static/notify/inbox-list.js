// @ts-check
/**
 * The notifications of an inbox that are at hand: what arrives live, and older pages on demand. No DOM in here.
 *
 * Says `change` whenever what it holds is different from before.
 */

/** @typedef {import("./inbox.js").InboxClient} InboxClient */
/** @typedef {import("./inbox.js").Notification} Notification */

const ROOM = 500;
const PAGE = 20;
const LARGE_PAGE = 100;

export class InboxList extends EventTarget {
  #client;
  /** @type {Map<number, Notification>} */
  #bySeq = new Map();
  /** How many to hold: live ones push the oldest out, older ones that somebody asked for make room. */
  #room = ROOM;
  /** Where the next older page begins; null is the start. @type {string | null} */
  #cursor = null;
  #complete = false;
  #loading = false;
  #loaded = false;
  #begun = false;
  /** Whether the first page was asked for in vain. */
  #failed = false;
  /** What is marked read while a page is under way, which may not know of it. @type {(string[] | "all")[] | null} */
  #reads = null;
  /** Counts those that live ones pushed out. */
  #pushedOut = 0;
  /** @type {unknown} */
  #problem = null;

  /** @param {InboxClient} client */
  constructor(client) {
    super();
    this.#client = client;
    listen(client, "notification", (notification) => this.#arrived(notification));
    listen(client, "read", (ids) => {
      this.#reads?.push(ids);
      this.#markRead(ids);
    });
    listen(client, "stale", () => this.#refresh());
  }

  /** Whether the first page has come. */
  get loaded() {
    return this.#loaded;
  }

  get loading() {
    return this.#loading;
  }

  /** Whether older ones than these are in the inbox. */
  get hasOlder() {
    return !this.#complete;
  }

  /** Whether there is nothing yet for the reason that it was asked for in vain. */
  get failed() {
    return this.#failed && !this.#loaded;
  }

  /** Why the last page did not come: what was thrown. Null when it did. */
  get problem() {
    return this.#problem;
  }

  newestFirst() {
    return [...this.#bySeq.values()].sort((one, other) => other.seq - one.seq);
  }

  /** Somebody looks: fetch the first page as soon as there is a connection, which a closed list does without. */
  begin() {
    if (this.#loaded) return;
    this.#begun = true;
    if (this.#client.live) this.#refresh();
  }

  /** Fetch the next older page. */
  async loadOlder() {
    if (this.#loading) return;
    this.#loading = true;
    this.#problem = null;
    this.#changed();
    try {
      // From the start again where live arrivals pushed older ones out: then whole pages may be here already.
      while ((await this.#loadPage()) === 0 && this.hasOlder);
    } catch (error) {
      this.#problem = error;
      this.#failed = true;
    }
    this.#loading = false;
    this.#reads = null;
    this.#changed();
  }

  /** How many of the page were not here before. */
  async #loadPage() {
    const limit = this.#bySeq.size < LARGE_PAGE ? PAGE : LARGE_PAGE;
    /** @type {(string[] | "all")[]} */
    const reads = (this.#reads = []);
    const pushedOut = this.#pushedOut;
    const { results, next } = await this.#client.page({ cursor: this.#cursor, limit });
    const fresh = results.filter(({ seq }) => !this.#bySeq.has(seq)).map((found) => asRead(found, reads));
    for (const notification of fresh) this.#bySeq.set(notification.seq, notification);
    this.#room = Math.max(this.#room, this.#bySeq.size);
    this.#loaded = true;
    // Where some were pushed out meanwhile, there is a gap above this page: from the start again.
    if (pushedOut !== this.#pushedOut) return fresh.length;
    this.#cursor = next;
    this.#complete = next === null;
    return fresh.length;
  }

  /** The connection was away, or a `read` frame got lost: look up what was read meanwhile. */
  async #refresh() {
    if (!this.#begun) return undefined;
    if (!this.#loaded) return this.loadOlder();
    // Those only: one that comes in while we ask is not among what we hear of, and is unread all the same.
    const asked = this.newestFirst().filter(({ read_at }) => read_at === null);
    const oldest = asked.at(-1)?.seq;
    if (oldest === undefined) return undefined;
    try {
      const unread = await this.#unreadDownTo(oldest);
      return this.#markRead(asked.filter(({ seq }) => !unread.has(seq)).map(({ id }) => id));
    } catch {
      return undefined; // the next heartbeat, or the next connection, asks again
    }
  }

  /** @param {number} oldest */
  async #unreadDownTo(oldest) {
    /** @type {Set<number>} */
    const unread = new Set();
    let cursor = null;
    do {
      const page = await this.#client.page({ cursor, unread: true, limit: LARGE_PAGE });
      for (const { seq } of page.results) unread.add(seq);
      cursor = (page.results.at(-1)?.seq ?? 0) > oldest ? page.next : null;
    } while (cursor !== null);
    return unread;
  }

  /** @param {Notification} notification */
  #arrived(notification) {
    this.#bySeq.set(notification.seq, notification);
    if (this.#bySeq.size > this.#room) {
      this.#bySeq.delete(Math.min(...this.#bySeq.keys()));
      this.#complete = false;
      this.#cursor = null;
      this.#pushedOut += 1;
    }
    this.#changed();
  }

  /** @param {string[] | "all"} ids */
  #markRead(ids) {
    const now = new Date().toISOString();
    const named = new Set(ids === "all" ? [] : ids);
    for (const [seq, notification] of this.#bySeq) {
      if (notification.read_at === null && (ids === "all" || named.has(notification.id))) {
        this.#bySeq.set(seq, { ...notification, read_at: now });
      }
    }
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * @param {Notification} notification as a page has it
 * @param {(string[] | "all")[]} reads of which that page may not know
 * @returns {Notification}
 */
function asRead(notification, reads) {
  const known = notification.read_at === null && reads.some((ids) => ids === "all" || ids.includes(notification.id));
  return known ? { ...notification, read_at: new Date().toISOString() } : notification;
}

/**
 * @param {EventTarget} target
 * @param {string} name
 * @param {(detail: any) => void} handle
 */
export function listen(target, name, handle) {
  target.addEventListener(name, (event) => handle(/** @type {CustomEvent} */ (event).detail));
}
