// @ts-check
/** Wires the page of processes: each a row that stays its own for as long as the process is told of. */

import { Connection } from "./connection.js";
import { copyOf, find, setText } from "./dom.js";
import { cutOff } from "./flow-banner.js";
import { age, bytes, ms, rate, whole } from "./numbers.js";

/**
 * @typedef {{name: string, kind: string, host: string, pid: number, started_at: number, beat_age_ms: number,
 *   state: string, handled: number, rate: number, rss_bytes: number | null, sockets: number | null}} Process
 * @typedef {{name: string, version: string, state: string, latency_ms: number | null, size_bytes: number | null,
 *   detail: string}} Server
 */

/** A beat that is younger is no news. */
const YOUNG_MS = 3_000;

const holder = find(document, "#processes");
const servers = find(document, "#servers");
const cut = find(document, ".processes-cut");
const spoken = find(document, "#spoken");
/** @type {Map<string, HTMLElement>} */
const groups = new Map([...holder.querySelectorAll(".group")].map((group) => [group.dataset.kind, group]));
/** @type {Map<string, HTMLElement>} */
const rows = new Map();
/** @type {Map<string, HTMLElement>} */
const cards = new Map();

/** @param {any} frame */
function show(frame) {
  cut.hidden = true;
  holder.classList.remove("old");
  servers.classList.remove("old");
  /** @type {Process[]} */
  const processes = frame.processes;
  say(processes);
  for (const process of processes) showProcess(process, frame.at);
  forget(rows, new Set(processes.map(({ name }) => name)));
  for (const group of groups.values()) showGroup(group);
  for (const server of frame.servers) showServer(server);
  forget(cards, new Set(frame.servers.map((/** @type {Server} */ { name }) => name)));
  showSum(processes);
}

/**
 * @param {Process} process
 * @param {number} at milliseconds of the server's clock
 */
function showProcess(process, at) {
  const row = rows.get(process.name) ?? added(process);
  row.dataset.state = process.state;
  showState(find(row, ".state"), process.state);
  const started = find(row, "time");
  setText(started, age(Math.floor((at - process.started_at) / 1000) * 1000).replace(".0", ""));
  setText(find(row, ".process-beat"), process.beat_age_ms < YOUNG_MS ? "just now" : `${age(process.beat_age_ms)} ago`);
  setText(find(row, ".process-rate"), rate(process.rate));
  setText(find(row, ".process-handled"), whole(process.handled));
  setText(find(row, ".process-memory"), bytes(process.rss_bytes));
  setText(find(row, ".process-sockets"), process.sockets === null ? "" : whole(process.sockets));
}

/** @param {Process} process */
function added(process) {
  const row = copyOf("process");
  const moment = new Date(process.started_at).toISOString();
  const started = find(row, "time");
  started.dateTime = moment;
  started.title = `Since ${moment.slice(0, 19).replace("T", " ")} UTC`;
  setText(find(row, ".process-host"), process.host);
  setText(find(row, ".process-pid"), String(process.pid));
  row.title = process.name;
  rows.set(process.name, row);
  const group = groups.get(process.kind);
  if (group) find(group, "tbody").append(row);
  return row;
}

/** @param {HTMLElement} group */
function showGroup(group) {
  const table = find(group, "table");
  table.hidden = table.tBodies[0].rows.length === 0;
  find(group, ".group-none").hidden = [...table.tBodies[0].rows].some(({ dataset }) => dataset.state === "alive");
}

/** @param {Server} server */
function showServer(server) {
  let card = cards.get(server.name);
  if (!card) {
    card = copyOf("server");
    cards.set(server.name, card);
    servers.append(card);
  }
  card.dataset.state = server.state;
  setText(find(card, "h2"), server.name);
  setText(find(card, ".server-version"), server.version);
  showState(find(card, ".state"), server.state);
  setText(find(card, ".server-latency"), ms(server.latency_ms));
  setText(find(card, ".server-size"), bytes(server.size_bytes));
  setText(find(card, ".server-detail"), server.detail);
}

/**
 * @param {HTMLElement} pill
 * @param {string} state
 */
function showState(pill, state) {
  pill.dataset.state = state;
  setText(pill, state);
}

/** @param {Process[]} processes */
function showSum(processes) {
  const alive = processes.filter(({ state }) => state === "alive");
  const memory = alive.reduce((sum, { rss_bytes: size }) => sum + (size ?? 0), 0);
  setText(find(document, ".processes-sum"), `${whole(alive.length)} alive, ${bytes(memory)} of memory`);
}

/**
 * Tell a screen reader of what died or came; never of numbers.
 *
 * @param {Process[]} processes
 */
function say(processes) {
  if (rows.size === 0) return;
  const news = processes.filter(({ name, state }) => rows.get(name)?.dataset.state !== state);
  const told = news.map(({ kind, host, pid, state }) => `${kind.replace("_", " ")} ${pid} on ${host} is ${state}.`);
  if (told.length) setText(spoken, told.join(" "));
}

/**
 * @param {Map<string, HTMLElement>} shown
 * @param {Set<string>} told
 */
function forget(shown, told) {
  for (const [name, element] of shown) {
    if (told.has(name)) continue;
    element.remove();
    shown.delete(name);
  }
}

const connection = new Connection(find(document, "#connection"), "processes");
connection.onFrame = (frame) => frame.type === "processes" && show(frame);
connection.onSilence = (sinceMs, signIn) => {
  const { title, reason, advice, link = "", href = "" } = cutOff(sinceMs, signIn);
  setText(find(cut, "span"), [title, reason, advice].filter(Boolean).join(" "));
  const anchor = find(cut, "a");
  anchor.hidden = !link;
  anchor.setAttribute("href", href);
  setText(anchor, link);
  cut.hidden = false;
  holder.classList.add("old");
  servers.classList.add("old");
};
