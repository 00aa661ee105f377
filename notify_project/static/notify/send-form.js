// @ts-check
/** The panel that sends: a form, what is wrong with it, and what became of what it sent. */

import { callAsStaff, Problem } from "./api.js";
import { copyOf, find, setText } from "./dom.js";

/** @typedef {import("./api.js").FieldError} FieldError */

const SHOWN_SENDS = 5;
const FIRST_LOOK_MS = 40;
const LONGEST_WAIT_MS = 2_000;
const FINAL = new Set(["stored", "dead", "cancelled"]);
const FIELDS = ["recipient", "type", "title", "body", "data"];

export class SendForm {
  #panel;
  #form;
  #onWatch;
  #signIn;
  #idempotencyKey = newKey();

  /**
   * @param {HTMLElement} panel
   * @param {{onWatch: (recipient: string) => void, signIn: string}} options
   */
  constructor(panel, { onWatch, signIn }) {
    this.#panel = panel;
    this.#form = find(panel, "form");
    this.#onWatch = onWatch;
    this.#signIn = signIn;
    this.#form.addEventListener("input", () => (this.#idempotencyKey = newKey()));
    this.#form.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  async #submit() {
    const button = find(this.#form, "[type=submit]");
    // Not `disabled`, which would take the keyboard's focus away.
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    this.#showErrors([]);
    try {
      await this.#send(readForm(this.#form));
    } catch (error) {
      this.#explain(error instanceof Problem ? error : new Problem(0, String(error)));
    }
    button.removeAttribute("aria-disabled");
  }

  /** @param {{recipient: string, document: string}} event */
  async #send({ recipient, document }) {
    // Pressing Send again after a lost answer, with nothing changed, sends nothing twice.
    const headers = { "Idempotency-Key": this.#idempotencyKey };
    const { id } = await callAsStaff("/api/notify", { method: "POST", body: document, headers });
    this.#idempotencyKey = newKey();
    this.#follow(this.#addResult(id, recipient), id);
  }

  /**
   * @param {string} id
   * @param {string} recipient
   */
  #addResult(id, recipient) {
    const results = find(this.#panel, ".sends");
    const result = copyOf("sent");
    setText(find(result, ".to"), recipient);
    setText(find(result, ".id"), id);
    find(result, ".id").href = `/lives/?id=${id}`;
    find(result, ".watch").addEventListener("click", () => this.#onWatch(recipient));
    results.prepend(result);
    while (results.children.length > SHOWN_SENDS) results.lastElementChild.remove();
    return result;
  }

  /**
   * Look until its life has come to an end, or the result has left the page.
   *
   * @param {HTMLElement} result
   * @param {string} id
   */
  async #follow(result, id) {
    showLife(result, { status: "queued" });
    for (let wait = FIRST_LOOK_MS; result.isConnected; wait = Math.min(wait * 1.6, LONGEST_WAIT_MS)) {
      await new Promise((resolve) => setTimeout(resolve, wait));
      try {
        const life = await callAsStaff(`/api/notifications/${id}`);
        showLife(result, life);
        if (FINAL.has(life.status)) return;
      } catch (error) {
        if (!(error instanceof Problem) || !error.passes) return showNote(result, String(error));
      }
    }
  }

  /** @param {Problem} problem */
  #explain(problem) {
    const signedOut = problem.status === 401;
    const link = find(this.#panel, ".sign-in");
    link.href = this.#signIn;
    link.hidden = !signedOut;
    if (problem.errors.length > 0) return this.#showErrors(problem.errors);
    const again = problem.passes ? " Press Send again in a moment: it is sent once, whatever became of this try." : "";
    const detail = signedOut ? "You are signed out. Nothing was sent." : problem.message + again;
    return this.#showErrors([{ pointer: "", detail }]);
  }

  /**
   * Each at the field it names; what names none is told above the button.
   *
   * @param {FieldError[]} errors
   */
  #showErrors(errors) {
    const general = errors.filter(({ pointer }) => !FIELDS.includes(fieldOf(pointer)));
    setText(find(this.#form, ".form-error"), general.map(sentence).join(" "));
    for (const name of FIELDS) {
      const own = errors.filter(({ pointer }) => fieldOf(pointer) === name);
      setText(find(this.#form, `#send-${name}-error`), own.map(sentence).join(" "));
      this.#form.elements[name].setAttribute("aria-invalid", String(own.length > 0));
    }
    this.#form.querySelector("[aria-invalid=true]")?.focus();
  }
}

/**
 * The event as JSON. `data` goes as it was typed: read and written again, large numbers would not be the same.
 *
 * @param {HTMLFormElement} form
 */
function readForm(form) {
  const { data, ...event } = Object.fromEntries(FIELDS.map((name) => [name, find(form, `[name=${name}]`).value]));
  // White space around an id is the work of copy and paste; inside of it the server objects.
  event.recipient = event.recipient.trim();
  const members = JSON.stringify(event).slice(0, -1);
  if (data.trim() === "") return { recipient: event.recipient, document: `${members}}` };
  try {
    JSON.parse(data);
  } catch (error) {
    throw new Problem(400, "", [{ pointer: "/data", detail: `is not JSON: ${/** @type {Error} */ (error).message}` }]);
  }
  return { recipient: event.recipient, document: `${members},"data":${data}}` };
}

/**
 * @param {HTMLElement} result
 * @param {{status: string, accepted_at?: string, stored_at?: string | null, attempts?: number,
 *   last_error?: string | null}} life
 */
function showLife(result, { status, accepted_at, stored_at, attempts, last_error }) {
  const chip = find(result, ".life");
  chip.dataset.status = status;
  setText(chip, stored_at && accepted_at ? `stored after ${elapsed(accepted_at, stored_at)}` : status);
  if (status === "stored") return showNote(result, "");
  const tried = attempts ? `${attempts} ${attempts === 1 ? "attempt" : "attempts"} failed. ` : "";
  return showNote(result, tried + (last_error ?? ""));
}

/**
 * @param {HTMLElement} result
 * @param {string} text
 */
function showNote(result, text) {
  setText(find(result, ".note"), text);
}

/**
 * @param {string} from
 * @param {string} to
 */
function elapsed(from, to) {
  const ms = Math.max(0, Date.parse(to) - Date.parse(from));
  return ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** @param {string} pointer */
function fieldOf(pointer) {
  return pointer.split("/")[1] ?? "";
}

/** @param {FieldError} error */
function sentence({ pointer, detail }) {
  // The message stands at the field, so only what lies below it is named.
  const inside = FIELDS.includes(fieldOf(pointer)) ? pointer.split("/").slice(2).join("/") : pointer;
  const text = inside === "" ? detail : `${inside} ${detail}`;
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

/** Not `crypto.randomUUID`, which plain HTTP beyond localhost does not have. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16)).join("-");
}
