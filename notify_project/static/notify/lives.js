// @ts-check
/** Wires /lives/: a search by `?q=`, or one notification by `?id=`. Each is an address of its own, to share. */

import { Problem, callAsStaff } from "./api.js";
import { find, setText } from "./dom.js";
import { copied } from "./inbox-snippet.js";
import { LifeView } from "./lives-life.js";
import { showFound } from "./lives-results.js";

const NO_SUCH = 404;
const COPIED_MS = 4_000;
const SIGNED_OUT = new Set([401, 403]);

const page = find(document, ".lives");
const form = find(document, "#search");
const asked = new URL(location.href).searchParams;
const q = (asked.get("q") ?? "").trim();
const id = (asked.get("id") ?? "").trim();

form.q.value = q || id;
form.kind.value = asked.get("kind") ?? "";
form.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  form.q.value = form.q.value.trim();
  if (form.q.value) return;
  event.preventDefault();
  showFieldProblem("Type an id, a recipient or a type.");
  form.q.focus();
});
// Shorter addresses: nothing is asked of the kind.
form.addEventListener("formdata", (/** @type {FormDataEvent} */ { formData }) => {
  if (!formData.get("kind")) formData.delete("kind");
});

if (id) showLife();
else if (q) search();
else showEmpty();

function showEmpty() {
  find(document, "#empty").hidden = false;
  form.q.focus();
}

async function search() {
  const query = new URLSearchParams({ q });
  if (asked.get("kind")) query.set("kind", asked.get("kind") ?? "");
  try {
    const found = await callAsStaff(`${page.dataset.search}?${query}`);
    if (found.kind === "id" && found.results.length === 1) location.replace(`?id=${found.results[0].id}`);
    else setText(find(document, "#said"), showFound(found, query));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.errors.length) showFieldProblem(`It ${error.errors[0].detail}.`);
    else showTrouble(error);
  }
}

function showLife() {
  const back = find(document, ".lives-back a");
  back.hidden = !q;
  const query = new URLSearchParams(asked);
  query.delete("id");
  back.href = `?${query}`;
  new LifeView(`${page.dataset.life}${encodeURIComponent(id)}`, showTroubleWithLife).start();
  find(document, "#copy").addEventListener("click", copyId);
}

/** @param {Problem | null} problem */
function showTroubleWithLife(problem) {
  find(document, "#nothing").hidden = true;
  if (problem?.status === NO_SUCH) {
    showTrouble(null);
    const found = { q: id, kind: "id", tried: ["id"], results: [], looked_at: null, links: [] };
    setText(find(document, "#said"), showFound(found, asked));
  } else {
    showTrouble(problem);
  }
}

/** @param {Problem | null} problem */
function showTrouble(problem) {
  const trouble = find(document, "#trouble");
  trouble.hidden = problem === null;
  if (problem === null) return;
  const signedOut = SIGNED_OUT.has(problem.status);
  const text = signedOut ? "You are signed out." : problem.message;
  setText(find(trouble, "span"), problem.passes && id ? `${text} This page goes on to ask.` : text);
  const link = find(trouble, "a");
  link.hidden = !signedOut;
  link.href = find(document, "main").dataset.signIn;
}

/** @param {string} text */
function showFieldProblem(text) {
  setText(find(document, "#q-problem"), text);
  form.q.setAttribute("aria-invalid", "true");
  form.q.classList.add("is-invalid");
}

/** @param {Event} event */
async function copyId({ currentTarget }) {
  const button = /** @type {HTMLButtonElement} */ (currentTarget);
  setText(button, await copied(find(document, "#life-id")));
  setTimeout(() => setText(button, "Copy id"), COPIED_MS);
}
