// @ts-check
/** The page of the dead letters: what failed, grouped by cause, kept up to date. */

import { Problem } from "./api.js";
import { pageFeed } from "./dashboard-feed.js";
import { causeOf, overview } from "./dead-letters-page-api.js";
import { GroupView, arrange, keyOf } from "./dead-letters-page-group.js";
import { LetterDialog } from "./dead-letters-page-letter.js";
import { ReplayDialog } from "./dead-letters-page-replay.js";
import { ReplayList } from "./dead-letters-page-replays.js";
import { SIGNED_OUT, firstLine, letters, trouble } from "./dead-letters-page-words.js";
import { find, setText } from "./dom.js";
import { whole } from "./numbers.js";
import { told as toldTime } from "./try-clock.js";

/** @typedef {import("./dead-letters-page-api.js").Group} Group */
/** @typedef {import("./dead-letters-page-api.js").Overview} Overview */

const TICK_MS = 1_000;
/** How old what is shown may be, if nobody told of a change. */
const REST_MS = 5_000;
/** What the server needs long for is asked for seldom. */
const REST_FACTOR = 10;

const page = find(document, "#dead-letters");
const list = find(page, ".letters-groups");
const everything = find(page, ".replay-everything");
const sum = find(page, ".letters-sum");
/** @type {Map<string, GroupView>} */
let views = new Map();
/** The latest death among what is shown: what dies later is in no replay that is ordered here. */
let until = "";
let dueAt = 0;
let asking = false;
/** Read before anybody opens something, which changes the address. */
const named = new URLSearchParams(location.search);
let recalled = false;
/** What is said to be wrong. */
let troubled = "";
/** What the feed last told of the stage. */
let told = "";

const replayList = new ReplayList(page);
const letterDialog = new LetterDialog(page, refreshSoon);
const replayDialog = new ReplayDialog(page, refreshSoon);
const deeds = {
  replay: (/** @type {Group} */ group) =>
    replayDialog.open(firstLine(group.error), { ...causeOf(group), until: group.newest }),
  open: (/** @type {{id: string}} */ { id }) => letterDialog.open(id),
  toggled: remember,
};

/** @param {Overview} found */
function show({ dead, replaying, newest, more, groups }) {
  const fresh = new Map();
  for (const group of groups) {
    const view = views.get(keyOf(group)) ?? new GroupView(group, deeds, page.dataset.list);
    if (views.has(keyOf(group))) view.show(group);
    fresh.set(keyOf(group), view);
  }
  views = fresh;
  arrange(list, [...fresh.values()].map((view) => view.element));
  until = newest ?? "";
  setText(sum, said(dead, replaying));
  find(page, ".letters-empty").hidden = groups.length > 0;
  find(page, ".letters-more").hidden = !more;
  everything.hidden = dead === 0;
  if (!recalled) recall();
}

/**
 * @param {number} dead
 * @param {number} replaying
 */
function said(dead, replaying) {
  const back = replaying ? `, ${whole(replaying)} on their way back` : "";
  return dead || replaying ? `${letters(dead)}${back}` : "nothing is dead";
}

async function refresh() {
  if (asking) return;
  asking = true;
  const began = Date.now();
  let rest = REST_MS;
  try {
    show(await overview());
    const settled = await replayList.refresh();
    if (!settled) rest = TICK_MS;
    tellTrouble("");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    rest = Math.max(rest, problem.retryAfterMs);
    tellTrouble(problem.passes ? `${problem.message} This page asks again by itself.` : trouble(problem));
  } finally {
    asking = false;
    dueAt = Math.max(Date.now() + rest, Date.now() + REST_FACTOR * (Date.now() - began));
  }
}

function refreshSoon() {
  dueAt = 0;
  refresh();
}

/** @param {string} text */
function tellTrouble(text) {
  const note = find(page, "#letters-trouble");
  // Once: it would be read out again each time, and the link would lose the focus.
  if (text === troubled) return;
  troubled = text;
  setText(note, text);
  if (text === SIGNED_OUT) note.append(" ", signIn());
  note.hidden = text === "";
  page.classList.toggle("stale", text !== "");
}

function signIn() {
  const link = document.createElement("a");
  link.href = find(document, "main").dataset.signIn;
  link.textContent = "Sign in";
  return link;
}

/** @param {{state: string, reason: string, advice: string, count: number | null, recording?: number | null}} stage */
function takeStage({ state, reason, advice, count, recording }) {
  const note = find(page, "#letters-stage");
  const wrong = ["behind", "stalled", "down"].includes(state);
  note.dataset.state = state;
  setText(note, wrong ? `${reason} ${advice}`.trim() : "");
  note.hidden = !wrong;
  const now = `${count} ${recording}`;
  if (now !== told) dueAt = Math.min(dueAt, Date.now() + TICK_MS);
  told = now;
}

function tick() {
  for (const view of views.values()) view.tick();
  replayList.tick();
  if (!document.hidden && Date.now() >= dueAt) refresh();
}

/** Keep in the address which groups are open, so that a reload, or a link, shows the same. */
function remember() {
  const open = [...views].filter(([, view]) => view.isOpen).map(([key]) => key.split("/")[1]);
  const query = new URLSearchParams(open.map((fingerprint) => ["open", fingerprint]));
  history.replaceState(null, "", open.length > 0 ? `?${query}` : location.pathname);
}

/** Open what the address named when the page was loaded: groups by `open`, a letter by `id`. */
function recall() {
  const open = named.getAll("open");
  for (const [key, view] of views) if (open.includes(key.split("/")[1]) && !view.isOpen) view.toggle();
  const id = named.get("id");
  if (id) letterDialog.open(id);
  recalled = true;
}

everything.addEventListener("click", () => replayDialog.open("Everything that is dead now", { until }));
document.addEventListener("visibilitychange", tick);
setInterval(tick, TICK_MS);

pageFeed().addEventListener("frame", (event) => {
  const frame = /** @type {CustomEvent} */ (event).detail;
  // The time of a flow is that of Redis, which may be away.
  if (frame.type === "processes") toldTime(frame.at);
  if (frame.type === "flow" && frame.stages?.dlq) takeStage(frame.stages.dlq);
});
refresh();
