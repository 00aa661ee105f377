// @ts-check
/** One dead letter in a dialog: its error, what was sent, its history; to be edited, replayed or discarded. */

import { Problem } from "./api.js";
import { discard, follow, letter as ask, newKey, replayOne } from "./dead-letters-page-api.js";
import { PASSAGES, ago, fateOfOne, fieldError, pretty, trouble } from "./dead-letters-page-words.js";
import { find, setText, showTime } from "./dom.js";

/** @typedef {import("./dead-letters-page-api.js").Letter} Letter */
/** @typedef {import("./dead-letters-page-words.js").Outcome} Outcome */

/** What a letter is begun with whose payload tells nothing. */
const EMPTY = { recipient: "", type: "", title: "", body: "", data: {} };
/** @type {Record<string, string>} */
const STATES = { dead: "dead", replaying: "connecting", replayed: "ok", discarded: "idle" };

export class LetterDialog {
  /** Which one is to be seen: the answer for another one comes too late. */
  #wanted = "";
  /** @type {Letter | null} */
  #letter = null;
  #key = newKey();
  #editing = false;
  #busy = false;
  /** What there was before anybody typed. */
  #before = "";
  #following = new AbortController();

  /**
   * @param {HTMLElement} page with the addresses of other pages
   * @param {() => void} changed
   */
  constructor(page, changed) {
    this.page = page;
    this.changed = changed;
    this.dialog = find(document, ".letter-dialog");
    this.text = find(this.dialog, "#letter-json");
    this.#on(".dialog-close", () => this.dialog.close());
    this.#on(".letter-change", () => this.#edit(true));
    this.#on(".letter-cancel", () => this.#leave());
    this.#on(".letter-replay", () => this.#replay());
    this.#on(".letter-discard", () => this.#discard());
    find(this.dialog, ".letter-edit").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
    this.text.addEventListener("input", () => {
      this.#tellErrors([]);
      this.#key = newKey();
    });
    this.dialog.addEventListener("cancel", (/** @type {Event} */ event) => this.#keepWhatIsTyped(event));
    this.dialog.addEventListener("close", () => {
      if (this.dialog.open) return;
      this.#following.abort();
      this.#wanted = "";
    });
  }

  /** @param {string} id */
  async open(id) {
    this.#following.abort();
    this.#wanted = id;
    this.#key = newKey();
    this.#letter = null;
    this.#say("");
    this.#fate(null);
    this.dialog.dataset.loading = "";
    if (!this.dialog.open) this.dialog.showModal();
    await this.#look(id);
    if (this.#wanted !== id) return;
    find(this.dialog, ".dialog-body").scrollTop = 0;
    if (this.#letter?.status === "replaying" || this.#letter?.status === "replayed") this.#follow(this.#letter);
  }

  /** @param {string} id */
  async #look(id) {
    try {
      const found = await ask(id);
      if (this.#wanted === id) this.#show(found);
    } catch (problem) {
      if (this.#wanted === id) this.#report(problem);
    }
  }

  /** @param {Letter} letter */
  #show(letter) {
    this.#letter = letter;
    delete this.dialog.dataset.loading;
    const status = find(this.dialog, ".letter-status");
    status.dataset.state = STATES[letter.status] ?? "idle";
    setText(status, letter.status);
    this.#facts(letter);
    setText(find(this.dialog, ".letter-error"), letter.error || "no error is known");
    setText(find(this.dialog, ".letter-event"), pretty(letter.notification ?? letter.payload));
    setText(find(this.dialog, ".letter-payload"), pretty(letter.payload));
    find(this.dialog, ".letter-unreadable").hidden = letter.readable;
    find(this.dialog, ".letter-history").replaceChildren(...letter.history.map(passage));
    find(this.dialog, ".link-life").href = `${this.page.dataset.lives}?id=${letter.id}`;
    find(this.dialog, ".link-admin").href = `${this.page.dataset.list}${letter.id}/change/`;
    this.#edit(false);
  }

  /** @param {Letter} letter */
  #facts(letter) {
    const facts = {
      recipient: letter.recipient ?? "nobody known",
      type: letter.type ?? "none known",
      reason: letter.reason,
      attempts: String(letter.attempts),
      id: letter.id,
    };
    for (const [name, text] of Object.entries(facts)) setText(find(this.dialog, `.fact-${name}`), text);
    showTime(find(this.dialog, ".fact-first"), letter.first_failed_at);
    showTime(find(this.dialog, ".fact-last"), letter.last_failed_at);
  }

  /** @param {boolean} editing */
  #edit(editing) {
    const letter = this.#letter;
    if (!letter) return;
    const dead = letter.status === "dead";
    this.#editing = editing;
    this.#tellErrors([]);
    find(this.dialog, ".letter-edit").hidden = !editing;
    find(this.dialog, ".letter-event").hidden = editing;
    find(this.dialog, ".letter-change").hidden = editing || !dead;
    find(this.dialog, ".letter-cancel").hidden = !editing;
    find(this.dialog, ".letter-discard").hidden = editing || !dead;
    find(this.dialog, ".letter-replay").hidden = !dead || !(editing || letter.readable);
    setText(find(this.dialog, ".letter-replay"), editing ? "Replay as corrected" : "Replay");
    if (!editing) return;
    this.text.value = this.#before = pretty(letter.notification ?? { ...EMPTY, ...known(letter) });
    this.text.focus();
    this.text.setSelectionRange(0, 0);
    this.text.scrollIntoView({ block: "nearest" });
  }

  #leave() {
    this.#say("");
    this.#edit(false);
  }

  /** @param {Event} event of the Escape key */
  #keepWhatIsTyped(event) {
    if (!this.#editing || this.text.value === this.#before) return;
    event.preventDefault();
    this.#say("Not closed, as what you typed would be lost. Press “Do not edit” first.");
  }

  async #replay() {
    const letter = this.#letter;
    const corrected = this.#editing ? this.#typed() : undefined;
    if (!letter || this.#busy || corrected === null) return;
    await this.#act(letter, async () => {
      const now = await replayOne(letter, this.#key, corrected);
      if (this.#wanted !== letter.id) return;
      this.#key = newKey();
      this.#show(now);
      this.#follow(now);
    });
  }

  /** @returns {string | null} what was typed; null where it is no JSON, which is said */
  #typed() {
    try {
      JSON.parse(this.text.value);
      return this.text.value;
    } catch (error) {
      this.#tellErrors([{ field: "", text: `This is not JSON yet: ${error instanceof Error ? error.message : error}` }]);
      return null;
    }
  }

  async #discard() {
    const letter = this.#letter;
    if (!letter || this.#busy || !(await confirmed())) return;
    await this.#act(letter, async () => {
      await discard(letter.id);
      await this.#look(letter.id);
      if (this.#wanted !== letter.id) return;
      this.#fate({ text: "Discarded. Its record stays, and can be found in the admin.", state: "idle", detail: "" });
    });
  }

  /**
   * @param {Letter} letter
   * @param {() => Promise<void>} deed
   */
  async #act({ id }, deed) {
    this.#busy = true;
    this.#say("");
    try {
      await deed();
      this.changed();
      if (this.#wanted === id) find(this.dialog, ".dialog-close").focus();
    } catch (problem) {
      if (this.#wanted === id) this.#report(problem);
    } finally {
      this.#busy = false;
    }
  }

  /** @param {Letter} letter that was replayed: show what becomes of it, for as long as the dialog shows it */
  async #follow(letter) {
    if (!letter.replay) return;
    const following = (this.#following = new AbortController());
    const tell = (/** @type {Outcome} */ now) => this.#fate(fateOfOne(now, ""));
    try {
      const end = await follow(letter.replay, tell, following.signal, (problem) => this.#say(trouble(problem)));
      if (!end) return;
      this.#say("");
      await this.#look(letter.id);
      this.changed();
      if (this.#letter && this.#wanted === letter.id) this.#fate(fateOfOne(end, this.#letter.error));
    } catch (problem) {
      if (this.#wanted === letter.id) this.#report(problem);
    }
  }

  /** @param {unknown} problem */
  async #report(problem) {
    if (!(problem instanceof Problem)) throw problem;
    const errors = problem.errors.map(fieldError);
    if (problem.status === 400 && this.#editing && errors.length > 0) return this.#tellErrors(errors);
    if (!problem.passes) this.#key = newKey();
    this.#say(trouble(problem));
    // It is not as it was shown any more: show it as it is.
    if (problem.status === 409 && this.#letter) await this.#look(this.#letter.id);
  }

  /** @param {{field: string, text: string}[]} errors */
  #tellErrors(errors) {
    const list = find(this.dialog, ".letter-errors");
    if (errors.length === 0 && list.children.length === 0) return;
    list.replaceChildren(...errors.map((error) => this.#error(error)));
    this.text.setAttribute("aria-invalid", String(errors.length > 0));
    if (errors.length > 0) this.#goTo(errors[0].field);
  }

  /** @param {{field: string, text: string}} error */
  #error({ field, text }) {
    const line = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", () => this.#goTo(field));
    line.append(button);
    return line;
  }

  /** @param {string} field to be marked in what was typed */
  #goTo(field) {
    this.text.focus();
    const at = field ? this.text.value.indexOf(`"${field}"`) : -1;
    if (at < 0) return;
    const end = this.text.value.indexOf("\n", at);
    this.text.setSelectionRange(at, end < 0 ? this.text.value.length : end);
  }

  /** @param {import("./dead-letters-page-words.js").Fate | null} fate */
  #fate(fate) {
    showFate(find(this.dialog, ".letter-fate"), fate);
  }

  /** @param {string} text */
  #say(text) {
    const note = find(this.dialog, ".letter-problem");
    setText(note, text);
    note.hidden = text === "";
  }

  /**
   * @param {string} selector
   * @param {() => void} deed
   */
  #on(selector, deed) {
    find(this.dialog, selector).addEventListener("click", deed);
  }
}

/**
 * @param {HTMLElement} note
 * @param {import("./dead-letters-page-words.js").Fate | null} fate
 */
export function showFate(note, fate) {
  note.hidden = fate === null;
  if (!fate) return;
  note.dataset.state = fate.state;
  setText(note, fate.detail ? `${fate.text} ${fate.detail}` : fate.text);
}

/** @param {Letter} letter */
function known({ recipient, type }) {
  return { ...(recipient && { recipient }), ...(type && { type }) };
}

/** @param {import("./dead-letters-page-api.js").Passage} passage */
function passage({ at, what, by, error }) {
  const line = document.createElement("li");
  const time = document.createElement("time");
  showTime(time, at);
  const did = document.createElement("strong");
  did.textContent = PASSAGES[what] ?? what;
  const who = document.createElement("bdi");
  who.textContent = by ?? "";
  line.append(did, by ? " by " : "", who, " ", time, ` (${ago(at)})`);
  if (error) {
    const why = document.createElement("p");
    why.dir = "auto";
    why.textContent = error;
    line.append(why);
  }
  return line;
}

/** @returns {Promise<boolean>} */
function confirmed() {
  const dialog = find(document, ".confirm-dialog");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
