// @ts-check
/** What every form here has: it is submitted once at a time, and what is wrong with it is told where it is wrong. */

import { Problem } from "./api.js";
import { find, setText } from "./dom.js";
import { sentence } from "./try-words.js";

/** @typedef {import("./api.js").FieldError} FieldError */

export const CONTENT = ["type", "title", "body", "data"];

export class TryForm {
  #form;
  #isBusy = false;

  /**
   * @param {HTMLFormElement} form
   * @param {(values: Record<string, string>, key: string) => Promise<void>} send given the values, without white space
   *   around ids, and an idempotency key that stays the same until something is changed, or sent
   */
  constructor(form, send) {
    this.#form = form;
    let key = newKey();
    form.addEventListener("input", () => (key = newKey()));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      // Not `disabled`, which would take the keyboard's focus away.
      if (this.#isBusy) return;
      this.#busy(true);
      this.#show([]);
      try {
        await send(this.#values(event.submitter), key);
        key = newKey();
      } catch (error) {
        this.#explain(error instanceof Problem ? error : new Problem(0, String(error)));
      }
      this.#busy(false);
    });
  }

  /** @param {HTMLElement | null} submitter */
  #values(submitter) {
    const values = /** @type {Record<string, string>} */ ({});
    for (const [name, value] of new FormData(this.#form, submitter)) {
      if (typeof value === "string") values[name] = name === "recipient" ? value.trim() : value;
    }
    return values;
  }

  /** @param {boolean} isBusy */
  #busy(isBusy) {
    this.#isBusy = isBusy;
    for (const button of this.#form.querySelectorAll("[type=submit]")) {
      button.setAttribute("aria-disabled", String(isBusy));
    }
  }

  /** @param {Problem} problem */
  #explain(problem) {
    const isSignedOut = problem.status === 401 || (problem.status === 403 && /CSRF/.test(problem.message));
    const link = find(this.#form, ".try-sign-in");
    link.href = find(document, "main").dataset.signIn;
    link.hidden = !isSignedOut;
    if (problem.errors.length > 0) return this.#show(problem.errors);
    const detail = isSignedOut ? "You are signed out. Nothing was sent." : advice(problem);
    return this.#show([{ pointer: "", detail }]);
  }

  /**
   * Each at the field it names; what names none is told above the button.
   *
   * @param {FieldError[]} errors
   */
  #show(errors) {
    const places = /** @type {HTMLElement[]} */ ([...this.#form.querySelectorAll("[data-problem]")]);
    const names = places.map((place) => place.dataset.problem ?? "");
    for (const place of places) {
      const name = place.dataset.problem ?? "";
      const own = errors.filter(({ pointer }) => (names.includes(fieldOf(pointer)) ? fieldOf(pointer) : "") === name);
      setText(place, own.map((error) => told(error, name)).join(" "));
      const field = name && this.#form.elements.namedItem(name);
      if (!(field instanceof HTMLElement)) continue;
      field.setAttribute("aria-invalid", String(own.length > 0));
      field.classList.toggle("is-invalid", own.length > 0);
    }
    /** @type {HTMLElement | null} */ (this.#form.querySelector("[aria-invalid=true]"))?.focus();
  }
}

/**
 * The members of a notification as JSON. `data` goes as it was typed: read and written again, large numbers would not
 * be the same.
 *
 * @param {Record<string, string>} values
 * @param {string[]} names besides `data`
 * @param {Record<string, unknown>} [more]
 */
export function documentOf(values, names, more = {}) {
  const members = JSON.stringify({ ...Object.fromEntries(names.map((name) => [name, values[name]])), ...more });
  const data = (values.data ?? "").trim();
  if (data === "") return members;
  try {
    JSON.parse(data);
  } catch (error) {
    throw new Problem(400, "", [{ pointer: "/data", detail: `is not JSON: ${/** @type {Error} */ (error).message}` }]);
  }
  return `${members.slice(0, -1)}${members === "{}" ? "" : ","}"data":${oneLine(data)}}`;
}

/**
 * Whole numbers out of fields; throws a Problem that names each that is none, or out of its bounds.
 *
 * @param {Record<string, string>} values
 * @param {Record<string, number>} most for each name, the largest; the smallest is 1
 * @returns {Record<string, number>}
 */
export function numbersOf(values, most) {
  const fits = (/** @type {number} */ value, /** @type {number} */ limit) =>
    Number.isInteger(value) && value >= 1 && value <= limit;
  const errors = Object.entries(most)
    .filter(([name, limit]) => !fits(Number(values[name]), limit))
    .map(([name, limit]) => ({ pointer: `/${name}`, detail: `must be a whole number from 1 to ${limit}` }));
  if (errors.length > 0) throw new Problem(400, "", errors);
  return Object.fromEntries(Object.keys(most).map((name) => [name, Number(values[name])]));
}

/** Not `crypto.randomUUID`, which plain HTTP beyond localhost does not have. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16)).join("-");
}

/**
 * Show the parts of a form that a choice of radio buttons asks for.
 *
 * @param {HTMLFormElement} form
 * @param {string} name of the radio buttons; a part names its values in `data-when`
 */
export function setUpChoice(form, name) {
  const show = () => {
    const chosen = new FormData(form).get(name);
    for (const part of /** @type {NodeListOf<HTMLElement>} */ (form.querySelectorAll("[data-when]"))) {
      part.hidden = !(part.dataset.when ?? "").split(" ").includes(String(chosen));
    }
  };
  form.addEventListener("change", show);
  show();
}

/**
 * A problem, and what to do next.
 *
 * @param {Problem} problem
 */
export function advice(problem) {
  if (problem.status === 0) return `${sentence(problem.message)} Press again in a moment: nothing is sent twice.`;
  if (!problem.passes) return problem.message;
  const wait = problem.retryAfterMs ? `in ${problem.retryAfterMs / 1000} s` : "in a moment";
  return `${sentence(problem.message)} Press again ${wait}: nothing is sent twice.`;
}

/**
 * JSON text without line ends, of which JSON needs none; between quotes there can be none.
 *
 * @param {string} json
 */
function oneLine(json) {
  return json.replace(/[\r\n]+/g, " ");
}

/** @param {string} pointer */
function fieldOf(pointer) {
  // A bulk's content stands in an object of its own, a member of a batch in a list.
  return pointer.replace(/^\/notification(?=\/)/, "").split("/")[1] ?? "";
}

/**
 * @param {FieldError} error
 * @param {string} name of the field at which it is told; "" for none
 */
function told({ pointer, detail }, name) {
  // The message stands at the field, so only what lies below it is named.
  const inside = name ? pointer.replace(/^\/notification(?=\/)/, "").split("/").slice(2).join("/") : pointer;
  return sentence(inside === "" ? detail : `${inside} ${detail}`);
}

