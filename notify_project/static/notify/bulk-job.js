// @ts-check
/**
 * A bulk job's numbers on a page of the admin, which changed. bulk/admin/words.py writes them first, in the same words.
 *
 * An element with `data-job` belongs to that job. `data-shows` names what it shows; `data-while`, the statuses in which
 * it is there.
 */

import { setText } from "./dom.js";

/**
 * @typedef {{id: string, status: string, total: number, fanned_out: number, stored: number, failed: number,
 *   rate: number, eta_seconds: number | null, rate_limit?: string | null, started_at?: string | null,
 *   finished_at?: string | null}} Job  What a frame tells; the API tells the rest, too.
 */

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
/** @type {[string, number][]} */
const UNITS = [
  ["d", 86_400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
];
const NOT_KNOWN = "–";

/**
 * A job as the API tells it: there, a number that JavaScript would write otherwise (`400.0`) came as it was written.
 *
 * @param {any} job
 * @returns {Job}
 */
export function read(job) {
  const eta = job.eta_seconds;
  return { ...job, rate: plain(job.rate), eta_seconds: eta === null ? null : plain(eta) };
}

/**
 * Whether a job has all it can get, so that it is over, or is about to be.
 *
 * @param {Job} job
 */
export function isSettled(job) {
  return job.status === "done" || (job.status === "cancelled" && job.stored + job.failed >= job.fanned_out);
}

/**
 * Show a job wherever the page shows it.
 *
 * @param {ParentNode} page
 * @param {Job} job
 */
export function show(page, job) {
  const shown = words(job);
  for (const element of page.querySelectorAll(`[data-job="${CSS.escape(job.id)}"]`)) {
    if (!(element instanceof HTMLElement || element instanceof SVGElement)) continue;
    const { shows, while: statuses } = element.dataset;
    if (statuses !== undefined) element.toggleAttribute("hidden", !statuses.split(" ").includes(job.status));
    if (shows === "bar") showBar(element, job);
    else if (shows !== undefined) showText(element, shown[shows]);
    if (shows === "status") element.className = `dlq-state ${job.status}`;
    if (shows === "failed") element.closest("div.bulk-failed")?.classList.toggle("bulk-none", job.failed === 0);
  }
}

/**
 * @param {Job} job
 * @returns {Record<string, string | undefined>} undefined: not told, so it stays as it is
 */
function words(job) {
  const { status, rate_limit: limit } = job;
  const settled = job.stored + job.failed;
  return {
    status,
    percent: percent(settled, job.total),
    settled: WHOLE.format(settled),
    fanned_out: WHOLE.format(job.fanned_out),
    stored: WHOLE.format(job.stored),
    failed: WHOLE.format(job.failed),
    rate: `${(job.rate >= 10 || job.rate === 0 ? WHOLE : TENTHS).format(job.rate)}/s`,
    eta: job.eta_seconds ? duration(job.eta_seconds) : NOT_KNOWN,
    rate_limit: limit === null ? "none" : limit,
    started_at: job.started_at ? moment(job.started_at) : undefined,
    finished_at: job.finished_at ? moment(job.finished_at) : undefined,
  };
}

/**
 * @param {Element} element
 * @param {string | undefined} text
 */
function showText(element, text) {
  if (text === undefined) return;
  // Behind a time the page says how long ago that was.
  const said = element.querySelector(".quiet") && element.textContent?.startsWith(text);
  if (!said) setText(element, text);
}

/**
 * @param {Element} bar
 * @param {Job} job
 */
function showBar(bar, job) {
  bar.setAttribute("aria-valuenow", percent(job.stored + job.failed, job.total));
  const [fannedOut, stored, failed] = bar.children;
  fannedOut.setAttribute("width", share(job.fanned_out, job.total));
  stored.setAttribute("width", share(job.stored, job.total));
  failed.setAttribute("x", share(job.stored, job.total));
  failed.setAttribute("width", share(job.failed, job.total));
}

/**
 * @param {number} part
 * @param {number} total
 */
function percent(part, total) {
  return (total ? Math.floor((part * 1000) / total) / 10 : 0).toFixed(1);
}

/**
 * @param {number} part
 * @param {number} total
 */
function share(part, total) {
  return `${(total ? Math.min(part / total, 1) * 100 : 0).toFixed(3)}%`;
}

/** @param {number} seconds */
function duration(seconds) {
  let rest = Math.max(Math.ceil(seconds), 1);
  const parts = UNITS.map(([name, unit]) => {
    const count = Math.floor(rest / unit);
    rest %= unit;
    return count ? `${count} ${name}` : "";
  });
  const first = parts.findIndex(Boolean);
  return parts
    .slice(first, first + 2)
    .filter(Boolean)
    .join(" ");
}

/** @param {string} at RFC 3339, UTC */
function moment(at) {
  return `${at.slice(0, 19).replace("T", " ")} UTC`;
}

/** @param {any} value */
function plain(value) {
  return Number(value?.rawJSON ?? value);
}
