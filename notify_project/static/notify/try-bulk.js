// @ts-check
/** Bulk jobs: made of a list that is made up, typed or in a file; followed, paused, resumed, cancelled and slowed. */

import { callAsStaff, Problem } from "./api.js";
import { isSettled, read } from "./bulk-job.js";
import { pageFeed } from "./dashboard-feed.js";
import { copyOf, find, setText } from "./dom.js";
import { whole } from "./numbers.js";
import { heard } from "./try-clock.js";
import { CONTENT, documentOf, numbersOf, setUpChoice, TryForm } from "./try-form.js";
import { took, until } from "./try-words.js";

/** @typedef {import("./try-activity.js").Activity} Activity */
/** @typedef {import("./try-item.js").Item} Item */
/** @typedef {import("./bulk-job.js").Job} Job */
/**
 * @typedef {{id: string, total: number, duplicates: number, rejected: number,
 *   errors: {line: number, detail: string}[]}} Made
 */

const MOST_MADE_UP = 1_000_000;
const LINES_AT_ONCE = 10_000;
const TO = "try";
const LINES = "application/x-ndjson";
/** Frames come twice a second; an answer now and then makes up for one that got lost. */
const ASK_MS = 2_000;
const SOON_MS = 300;
/** The dial's places, events a second. The last is none at all. */
const RATES = ["10/s", "20/s", "50/s", "100/s", "200/s", "500/s", "1000/s", "2000/s", "5000/s", "10000/s", null];

/**
 * @param {HTMLElement} section
 * @param {Activity} activity
 */
export function setUpBulk(section, activity) {
  const form = /** @type {HTMLFormElement} */ (find(section, "#try-bulk form"));
  setUpChoice(form, "source");
  find(form, "[name=rate]").append(...[...RATES].reverse().map((rate) => new Option(rateInWords(rate), rate ?? "")));
  new TryForm(form, async (values, key) => {
    const { list, hasHead } = await listOf(form, values);
    const head = hasHead ? [] : [headOf(values), "\n"];
    const headers = { "Content-Type": LINES, "Idempotency-Key": key };
    const body = new Blob([...head, ...list]);
    /** @type {Made} */
    const made = await callAsStaff("/api/bulk", { method: "POST", body, headers }).catch((problem) => {
      throw atTheirFields(problem, values.source);
    });
    heard(made.id);
    const title = hasHead ? find(form, "[name=file]").files[0].name : values.title;
    const to = `${whole(made.total)} ${made.total === 1 ? "recipient" : "recipients"}`;
    const at = new Date().toISOString();
    const item = activity.add({ kind: "bulk", id: made.id, title, to, at, said: leftOut(made) });
    activity.say(`Accepted: ${title}, ${to}`);
    followBulk(item);
  });
}

/** @param {Record<string, string>} values */
function headOf(values) {
  const rate = values.rate === "" ? {} : { rate: values.rate };
  return documentOf(values, CONTENT.filter((name) => name !== "data"), rate);
}

/**
 * The list as parts of a body, and whether it brings its own notification. A file is not read: the browser sends it.
 *
 * @param {HTMLFormElement} form
 * @param {Record<string, string>} values
 * @returns {Promise<{list: BlobPart[], hasHead: boolean}>}
 */
async function listOf(form, values) {
  if (values.source === "made") {
    const { count } = numbersOf(values, { count: MOST_MADE_UP });
    return { list: madeUp(count), hasHead: false };
  }
  if (values.source === "typed") return { list: [values.recipients], hasHead: false };
  const file = find(form, "[name=file]").files[0];
  if (!file) throw new Problem(400, "", [{ pointer: "/file", detail: "choose a file first" }]);
  return { list: [file], hasHead: (await file.slice(0, 1).text()) === "{" };
}

/** @param {number} count */
function madeUp(count) {
  const parts = [];
  for (let start = 1; start <= count; start += LINES_AT_ONCE) {
    const size = Math.min(LINES_AT_ONCE, count - start + 1);
    parts.push(Array.from({ length: size }, (_, index) => `${TO}-${start + index}\n`).join(""));
  }
  return parts;
}

/**
 * What is wrong with the list is told where the list comes from.
 *
 * @param {unknown} problem
 * @param {string} source
 */
function atTheirFields(problem, source) {
  if (!(problem instanceof Problem) || problem.errors.length === 0) return problem;
  const place = { made: "/count", typed: "/recipients", file: "/file" }[source] ?? "";
  const errors = problem.errors.map((error) => {
    const line = Number(/** @type {{line?: number}} */ (error).line ?? 0);
    if (line > 1) return { pointer: place, detail: `line ${line}: ${error.detail}` };
    // Of a file with its own notification, the first line is the file's.
    const isOfList = error.pointer === "" || error.pointer === "/recipients";
    return { pointer: isOfList ? place : error.pointer, detail: error.detail };
  });
  return new Problem(problem.status, problem.message, errors, problem.retryAfterMs);
}

/** @param {Made} made */
function leftOut({ duplicates, rejected, errors }) {
  const twice = duplicates ? ` ${whole(duplicates)} came twice and count once.` : "";
  const first = errors[0] ? `, the first in line ${errors[0].line}: ${errors[0].detail}` : "";
  const lines = rejected === 1 ? "line was no id" : "lines were no ids";
  const none = rejected ? ` ${whole(rejected)} ${lines}${first}.` : "";
  return `${twice}${none}`;
}

/**
 * Show a job until it is over.
 *
 * @param {Item} item
 */
export function followBulk(item) {
  const address = `/api/bulk/${item.deed.id}`;
  /** @type {Job | undefined} */
  let job;
  const take = (/** @type {any} */ told) => {
    // An answer may be older than a frame that came meanwhile; one that told the end is not taken back.
    if (job && isSettled(job) && !isSettled(told)) return;
    job = { ...job, ...read(told) };
    showJob(item, job);
    for (const [button, statuses] of buttons) item.toggle(button, statuses.includes(job.status));
    dial.show(job);
    if (job.finished_at) item.end(`${job.status}: ${item.deed.title}`);
  };
  const order = (/** @type {string} */ what) => async () => {
    take(await callAsStaff(`${address}/${what}`, { method: "POST" }));
  };
  /** @type {[HTMLElement, string[]][]} */
  const buttons = [
    [item.button("Cancel", order("cancel")), ["queued", "running", "paused"]],
    [item.button("Resume", order("resume")), ["paused"]],
    [item.button("Pause", order("pause")), ["queued", "running"]],
  ];
  const dial = addDial(item, async (rate) => {
    take(await callAsStaff(address, { method: "PATCH", body: JSON.stringify({ rate }) }));
  });
  for (const [button] of buttons) button.hidden = true;
  item.show("queued");
  item.link("Job", `${item.addresses.jobs}${item.deed.id}/change/`);
  const feed = pageFeed();
  const hear = (/** @type {Event} */ event) => {
    const frame = /** @type {CustomEvent} */ (event).detail;
    if (frame.type === "bulk" && frame.job.id === item.deed.id && item.element.isConnected) take(frame.job);
  };
  feed.addEventListener("frame", hear);
  item
    .follow(async () => {
      take(await callAsStaff(address));
      if (job?.finished_at) return null;
      return job && (isSettled(job) || job.status === "queued") ? SOON_MS : ASK_MS;
    })
    .finally(() => feed.removeEventListener("frame", hear));
}

/**
 * @param {Item} item
 * @param {Job} job
 */
function showJob(item, job) {
  item.show(job.status, `${jobInWords(job)}${item.deed.said ?? ""}`);
  item.showBar({ good: job.stored, bad: job.failed, out: job.fanned_out, total: job.total });
}

/** @param {Job} job */
function jobInWords({ status, total, fanned_out, stored, failed, rate, eta_seconds, started_at, finished_at }) {
  const dead = failed ? `, ${whole(failed)} dead` : "";
  const done = `${whole(stored)} of ${whole(total)} stored${dead}`;
  if (finished_at && started_at) {
    return `${done}, in ${took(Date.parse(finished_at) - Date.parse(started_at))} (${whole(rate)}/s).`;
  }
  if (status === "queued") return "Waits for a bulk worker.";
  const left = eta_seconds ? `, ${until(1000 * eta_seconds)} left` : "";
  if (status === "running") return `${done}, ${whole(rate)}/s${left}.`;
  return `${done}, ${whole(fanned_out)} fanned out.`;
}

/**
 * The dial: as far as it is turned, so fast may the job go. It is turned by arrows, too.
 *
 * @param {Item} item
 * @param {(rate: string | null) => Promise<void>} turn
 */
function addDial(item, turn) {
  const dial = copyOf("try-dial");
  const range = find(dial, "input");
  range.max = String(RATES.length - 1);
  range.setAttribute("aria-label", `At most: ${item.deed.title}`);
  const tell = (/** @type {string | null} */ rate) => {
    range.setAttribute("aria-valuetext", rateInWords(rate));
    setText(find(dial, "output"), rateInWords(rate));
  };
  let isTurning = false;
  range.addEventListener("input", () => {
    isTurning = true;
    tell(RATES[range.value]);
  });
  range.addEventListener("change", async () => {
    await item.attempt(() => turn(RATES[range.value]));
    isTurning = false;
  });
  dial.hidden = true;
  find(item.element, ".try-links").before(dial);
  return {
    /** @param {Job} job */
    show({ status, rate_limit: rate }) {
      item.toggle(dial, ["queued", "running", "paused"].includes(status));
      if (isTurning || rate === undefined) return;
      range.value = String(nearest(rate));
      tell(rate);
    },
  };
}

/**
 * The dial's place for a rate that may have been set elsewhere, to anything.
 *
 * @param {string | null} rate
 */
function nearest(rate) {
  if (rate === null) return RATES.length - 1;
  const above = RATES.findIndex((place) => place !== null && parseInt(place, 10) >= parseInt(rate, 10));
  return above < 0 ? RATES.length - 2 : above;
}

/** @param {string | null} rate */
function rateInWords(rate) {
  return rate === null ? "as fast as it goes" : rate.replace(/^\d+/, (number) => whole(Number(number)));
}
