// @ts-check
/** Schedules: made here, counted down, cancelled, and followed into the notification that they become. */

import { callAsStaff, Problem } from "./api.js";
import { find } from "./dom.js";
import { whole } from "./numbers.js";
import { heard, serverNow } from "./try-clock.js";
import { CONTENT, documentOf, setUpChoice, TryForm } from "./try-form.js";
import { followEvent } from "./try-event.js";
import { stayed, took, until } from "./try-words.js";

/** @typedef {import("./try-activity.js").Activity} Activity */
/** @typedef {import("./try-item.js").Item} Item */

/**
 * @typedef {{id: string, status: string, next_run_at: string | null, at: string | null, daily: string | null,
 *   cron: string | null, timezone: string, recipient: string, type: string, runs: number,
 *   last_run_at: string | null}} Schedule
 */

/** Somebody may change it elsewhere. */
const RARE_MS = 10_000;
const DUE_MS = 150;
const OVERDUE_MS = 1_000;
const RECENT = 50;
const A_MINUTE_MS = 60_000;

const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/**
 * @param {HTMLElement} section
 * @param {Activity} activity
 */
export function setUpSchedule(section, activity) {
  const form = /** @type {HTMLFormElement} */ (find(section, "#try-schedule form"));
  setUpChoice(form, "when");
  setUpTimes(form);
  new TryForm(form, async (values, key) => {
    const names = ["recipient", ...CONTENT.filter((name) => name !== "data")];
    const body = documentOf(values, names, timing(values));
    const headers = { "Idempotency-Key": key };
    const schedule = await callAsStaff("/api/schedule", { method: "POST", body, headers });
    heard(schedule.id);
    const { id, recipient: to, title } = schedule;
    const item = activity.add({ kind: "schedule", id, title, to, at: new Date().toISOString() });
    activity.say(`Scheduled: ${title}, ${local(schedule.next_run_at)}`);
    followSchedule(item);
  });
}

/** @param {HTMLFormElement} form */
function setUpTimes(form) {
  const inAMinute = new Date(Date.now() + A_MINUTE_MS);
  const shift = inAMinute.getTimezoneOffset() * 60_000;
  const at = find(form, "[name=at]");
  at.value = new Date(inAMinute.getTime() - shift).toISOString().slice(0, 19);
  at.addEventListener("input", () => sayZone(form));
  sayZone(form);
  find(form, "[name=timezone]").value = ZONE;
  const zones = Intl.supportedValuesOf?.("timeZone") ?? [];
  find(form, "datalist").append(...["UTC", ...zones].map((zone) => new Option(zone, zone)));
}

/**
 * By which clock a time is typed: that of the day that it names, which may be in summer time.
 *
 * @param {HTMLFormElement} form
 */
function sayZone(form) {
  const typed = new Date(find(form, "[name=at]").value);
  const day = Number.isNaN(typed.getTime()) ? new Date() : typed;
  find(form, "#try-schedule-at-hint").textContent = `By your clock: ${ZONE}, ${offset(day)}.`;
}

/**
 * The members that say when.
 *
 * @param {Record<string, string>} values
 * @returns {Record<string, unknown>}
 */
function timing(values) {
  const { when, delay, at, daily, cron, timezone } = values;
  if (when === "delay") return { delay: delay.trim() === "" ? null : Number(delay) };
  if (when === "daily") return { daily: daily.slice(0, 5), timezone: timezone.trim() };
  if (when === "cron") return { cron, timezone: timezone.trim() };
  const moment = new Date(at);
  if (Number.isNaN(moment.getTime())) {
    throw new Problem(400, "", [{ pointer: "/at", detail: "must be a date and a time" }]);
  }
  return { at: moment.toISOString() };
}

/**
 * Show a schedule until it is over; one that fires once, until what it fired is stored.
 *
 * @param {Item} item
 */
export function followSchedule(item) {
  const { id } = item.deed;
  const address = `/api/schedule/${id}`;
  /** @type {Schedule | undefined} */
  let schedule;
  const cancel = item.button("Cancel", () => callAsStaff(address, { method: "DELETE" }));
  const show = () => schedule && showSchedule(item, schedule);
  item.show("scheduled");
  item.link("Schedule", `${item.addresses.schedules}${id}/change/`);
  item.linkInbox(item.deed.to);
  item.follow(async () => {
    const ran = schedule?.runs ?? 0;
    schedule = /** @type {Schedule} */ (await callAsStaff(address));
    item.toggle(cancel, schedule.status === "scheduled");
    show();
    if (schedule.runs !== ran && recurs(schedule)) await linkLastRun(item, schedule);
    return next(item, schedule);
  }, show);
}

/**
 * @param {Item} item
 * @param {Schedule} schedule
 * @returns {number | null} ms until there may be something new
 */
function next(item, schedule) {
  if (schedule.status === "cancelled") {
    item.end(`cancelled: ${item.deed.title}`);
    return null;
  }
  if (schedule.status === "fired") {
    followFired(item, schedule);
    return null;
  }
  const left = Date.parse(schedule.next_run_at ?? "") - serverNow();
  return left > 0 ? Math.min(left + DUE_MS, RARE_MS) : DUE_MS;
}

/** @param {Schedule} schedule */
function recurs({ daily, cron }) {
  return daily !== null || cron !== null;
}

/**
 * Its notification has the schedule's id, and with it the time at which that was made: what counts is when it was due.
 *
 * @param {Item} item
 * @param {Schedule} schedule
 */
function followFired(item, { at, last_run_at }) {
  const due = at ?? last_run_at ?? "";
  followEvent(item, (life) => {
    const fired = `Fired at ${local(due)}`;
    const later = took(stayed({ ...life, accepted_at: due }));
    return life.status === "stored" ? `${fired}, stored ${later} later.` : `${fired}.`;
  });
}

/**
 * @param {Item} item
 * @param {Schedule} schedule
 */
function showSchedule(item, { status, next_run_at, daily, cron, timezone, runs, last_run_at }) {
  if (status !== "scheduled" || next_run_at === null) {
    return item.show(status, status === "cancelled" ? "Cancelled: it does not run any more." : "");
  }
  const rule = daily ? `Every day at ${daily}, ${timezone}. ` : cron ? `Cron ${cron}, ${timezone}. ` : "";
  const ran = last_run_at ? ` Ran ${runs === 1 ? "once" : `${whole(runs)} times`}, last ${local(last_run_at)}.` : "";
  return item.show("scheduled", `${rule}${countdown(next_run_at)}${ran}`);
}

/** @param {string} at */
function countdown(at) {
  const left = Date.parse(at) - serverNow();
  if (left > 0) return `Runs in ${until(left)}: ${local(at)}.`;
  if (left > -OVERDUE_MS) return "Runs now.";
  return `Due for ${until(-left)}. If it stays so, no scheduler is running: see Processes.`;
}

/**
 * A recurrence's occurrences are notifications of their own, which name it as their source.
 *
 * @param {Item} item
 * @param {Schedule} schedule
 */
async function linkLastRun(item, { id, recipient, type }) {
  const query = new URLSearchParams({ recipient, type, limit: String(RECENT) });
  const { results } = await callAsStaff(`/api/notifications?${query}`);
  const run = results.find((/** @type {{source_id: string | null}} */ { source_id }) => source_id === id);
  if (run) item.link("The last run's life", `${item.addresses.lives}?id=${run.id}`);
}

/** @param {string} moment RFC 3339 */
function local(moment) {
  return MOMENT.format(new Date(moment));
}

/** @param {Date} date */
function offset(date) {
  const parts = new Intl.DateTimeFormat("en-US", { timeZoneName: "longOffset" }).formatToParts(date);
  return (parts.find(({ type }) => type === "timeZoneName")?.value ?? "").replace("GMT", "UTC");
}
