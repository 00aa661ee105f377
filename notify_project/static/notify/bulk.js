// @ts-check
/** Bulk jobs on a page of the admin, live: by the dashboard's socket, and by asking while that is silent. */

import { Problem, callAsStaff } from "./api.js";
import { isSettled, read, show } from "./bulk-job.js";
import { DashboardFeed } from "./dashboard-feed.js";
import { find, setText } from "./dom.js";

/** @typedef {import("./bulk-job.js").Job} Job */

const ASK_MS = 2_000;
/** A frame may get lost; so long after the last one, it is better to ask. */
const SILENCE_MS = 10_000;
/** The most that the API gives in a page. */
const LIMIT = 100;

const note = find(document, "#bulk-live");
/** The jobs on this page, as they were last told. @type {Map<string, Job | null>} */
const known = new Map(
  [...document.querySelectorAll("[data-job]")].map((element) => [element.getAttribute("data-job") ?? "", null]),
);
const feed = new DashboardFeed(location.origin);
let toldAt = 0;
let asking = false;
let trouble = "";

/** @param {Job} job */
function take(job) {
  if (!known.has(job.id)) return;
  const before = known.get(job.id);
  const isFrame = job.finished_at === undefined;
  // An answer may be older than a frame that came meanwhile; one that told the end is not taken back.
  if (!isFrame && before && isSettled(before) && !isSettled(job)) return;
  const now = { ...before, ...job };
  known.set(job.id, now);
  show(document, job);
  toldAt = Date.now();
  // When it began and when it ended, no frame tells.
  if (isFrame && (before?.status !== job.status || (isSettled(now) && !isOver(now)))) ask();
}

/** @param {Job | null} job */
function isOver(job) {
  return Boolean(job?.finished_at);
}

async function ask() {
  if (asking) return;
  asking = true;
  try {
    for (const job of await jobs()) take(read(job));
    trouble = "";
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    trouble = problem.passes ? "The server does not answer. Trying again." : "Not live: load the page again.";
    if (!problem.passes) clearInterval(ticking);
  } finally {
    asking = false;
    tell();
  }
}

/** @returns {Promise<any[]>} */
async function jobs() {
  if (known.size === 1) return [await callAsStaff(`/api/bulk/${[...known.keys()][0]}`)];
  return (await callAsStaff(`/api/bulk?limit=${LIMIT}`)).results;
}

/** Say how what is shown is kept up to date. */
function tell() {
  const over = [...known.values()].every(isOver);
  note.dataset.state = over ? "over" : feed.live ? "live" : trouble ? "trouble" : "asking";
  setText(note, over ? "" : feed.live ? "live" : trouble || `every ${ASK_MS / 1000} s`);
}

function tick() {
  const unfinished = [...known.values()].filter((job) => !isOver(job));
  const silent = Date.now() - toldAt > SILENCE_MS;
  // What told the end was a frame, and the answer after it is not here yet.
  const ending = unfinished.some((job) => job && isSettled(job));
  if (unfinished.length > 0 && !document.hidden && (!feed.live || silent || ending)) ask();
}

feed.addEventListener("frame", (event) => {
  const frame = /** @type {CustomEvent} */ (event).detail;
  if (frame.type !== "bulk") return;
  take(frame.job);
  tell();
});
feed.addEventListener("live", () => {
  // What was told while nobody listened is made up for.
  ask();
  tell();
});
document.addEventListener("visibilitychange", tick);

const ticking = setInterval(tick, ASK_MS);
if (known.size > 0) feed.start();
