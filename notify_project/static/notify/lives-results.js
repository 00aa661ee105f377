// @ts-check
/** The search: what was found, or what was looked for where nothing was. */

import { copyOf, find, setText, showTime } from "./dom.js";
import { STATES } from "./lives-states.js";

/**
 * @typedef {object} Found  As /dashboard/search has it.
 * @property {string} q
 * @property {string} kind
 * @property {string[]} tried
 * @property {any[]} results
 * @property {number | null} looked_at
 * @property {{title: string, href: string}[]} links
 */

const MOST = 50;
const LOOKED = new Map([
  ["id", "No notification has this id. Ids are answered by the API when it accepts, and are found from then on."],
  ["recipient", "Nobody of this name was sent anything: recipients are compared letter by letter."],
  ["type", "No notification has this type."],
]);

/**
 * @param {Found} found
 * @param {URLSearchParams} asked
 * @returns {string} what it says, for who does not see it
 */
export function showFound(found, asked) {
  return found.results.length ? showResults(found, asked) : showNothing(found);
}

/**
 * @param {Found} found
 * @param {URLSearchParams} asked
 */
function showResults(found, asked) {
  const section = find(document, "#results");
  const heading = headingOf(found);
  setText(find(section, "h2"), heading);
  const items = found.results.map((one) => item(one, asked));
  find(section, "ol").replaceChildren(...items);
  note(find(section, ".lives-note"), found);
  showLinks(find(section, ".lives-also"), found.links);
  section.hidden = false;
  return heading;
}

/** @param {Found} found */
function headingOf({ q, kind, results }) {
  if (kind === "id") return "The notification with this id";
  const many = results.length === MOST ? `The newest ${MOST}` : results.length === 1 ? "The one" : `All ${results.length}`;
  return kind === "type" ? `${many} of type ${q}` : `${many} for \u2068${q}\u2069`;
}

/** @param {Found} found */
function showNothing(found) {
  const section = find(document, "#nothing");
  const heading = `Nothing found for \u2068${found.q}\u2069`;
  setText(find(section, "h2"), heading);
  const lines = found.tried.map((kind) => LOOKED.get(kind) ?? "");
  if (found.looked_at) lines.push(`Of stored ones, the newest ${found.looked_at.toLocaleString()} were looked at: older ones are found by id or recipient.`);
  if (!found.tried.includes("id")) lines.push("Searched were inboxes, what is on its way, dead letters and schedules that wait. One of a bulk job is found once its part of the job is handled.");
  find(section, "ul").replaceChildren(...lines.map(line));
  showLinks(find(section, ".lives-also"), found.links);
  section.hidden = false;
  return heading;
}

/** @param {string} text */
function line(text) {
  const item = document.createElement("li");
  item.textContent = text;
  return item;
}

/**
 * @param {any} one
 * @param {URLSearchParams} asked
 */
function item(one, asked) {
  const made = copyOf("result");
  const link = find(made, "a");
  const to = new URLSearchParams(asked);
  to.set("id", one.id);
  link.href = `?${to}`;
  const state = find(made, ".state");
  state.dataset.state = STATES.get(one.status) ?? "";
  setText(state, one.status);
  setText(find(made, ".lives-result-title bdi"), one.title || "(without a title)");
  setText(find(made, ".lives-result-recipient"), one.recipient || "nobody");
  setText(find(made, ".lives-result-type"), one.type || "unreadable");
  showTime(find(made, "time"), one.accepted_at);
  return made;
}

/**
 * @param {HTMLElement} element
 * @param {Found} found
 */
function note(element, { looked_at: lookedAt }) {
  element.hidden = !lookedAt;
  if (lookedAt) setText(element, `Of stored ones, only the newest ${lookedAt.toLocaleString()} were looked at. Older ones are found by id or recipient.`);
}

/**
 * @param {HTMLElement} element
 * @param {{title: string, href: string}[]} links
 */
export function showLinks(element, links) {
  if (element.childElementCount === links.length) return;
  const made = links.map(({ title, href }) => {
    const link = document.createElement("a");
    link.href = href;
    link.textContent = title;
    return link;
  });
  element.replaceChildren(...made);
}
