// @ts-check
/** One diagram of curves over time: legend, tooltip, keys, and the same in words. Its colours are the page's. */

import uPlot from "../vendor/uplot-1.6.32/uPlot.esm.js";
import { find, setText } from "./dom.js";

/**
 * @typedef {(number | null)[]} Column
 * @typedef {{name: string, column: string, colour: string, dash?: number[]}} Series  `colour` names a CSS variable.
 * @typedef {{series: Series[], format: (n: number | null) => string, log: boolean, empty: string}} Kind
 */

const HEIGHT = 220;
const NARROW = 640;
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const MINUTE = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
/** What a scale from nothing shows at least, so that a few events are few. */
const LEAST = 4;
/** What a scale of thousandths to hours shows at least: two decades. */
const DECADES = 2;

export class Curve {
  /**
   * @param {HTMLElement} figure
   * @param {Kind} kind
   */
  constructor(figure, kind) {
    this.#kind = kind;
    this.#figure = figure;
    this.#holder = find(figure, ".curve-plot");
    this.#values = kind.series.map((series) => legendItem(find(figure, ".curve-legend"), series));
    this.#tip = this.#holder.appendChild(document.createElement("div"));
    this.#tip.className = "curve-tip";
    this.#tip.hidden = true;
    this.#plot = new uPlot(this.#options(), [[], ...kind.series.map(() => [])], this.#holder);
    this.#holder.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    this.#holder.addEventListener("blur", () => this.#point(null));
    find(figure, "details").addEventListener("toggle", () => this.#tell());
    new ResizeObserver(() => this.#resize()).observe(this.#holder);
    new MutationObserver(() => this.#plot.redraw(false)).observe(document.documentElement, {
      attributeFilter: ["data-bs-theme"],
    });
  }

  #kind;
  #figure;
  #holder;
  #values;
  #tip;
  #plot;
  /** @type {Record<string, Column>} */
  #columns = {};

  /** @param {Record<string, Column>} columns */
  show(columns) {
    this.#columns = columns;
    const data = [columns.at, ...this.#kind.series.map(({ column }) => columns[column])];
    this.#plot.setData(/** @type {any} */ (data));
    const empty = !data.slice(1).some((column) => column.some((value) => value !== null));
    find(this.#figure, ".curve-empty").hidden = !empty;
    this.#tell();
    this.#follow();
  }

  #options() {
    const grid = { stroke: () => colour("--line"), width: 1 };
    const axis = { stroke: () => colour("--soft"), grid, ticks: grid, font: `12px ${getComputedStyle(document.body).fontFamily}` };
    const { format, log } = this.#kind;
    return {
      width: this.#holder.clientWidth || 300,
      height: HEIGHT,
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { time: true }, y: log ? { distr: 3, range: decades } : { range: fromNothing } },
      axes: [
        { ...axis, space: 80, values: (/** @type {any} */ _plot, /** @type {number[]} */ at) => at.map((s) => MINUTE.format(s * 1000)) },
        { ...axis, size: 64, ...(log && { splits: powers }), values: (/** @type {any} */ _plot, /** @type {(number | null)[]} */ splits) => splits.map((n) => (n === null ? "" : format(n))) },
      ],
      series: [
        {},
        ...this.#kind.series.map(({ name, colour: variable, dash }) => ({
          label: name,
          stroke: () => colour(variable),
          width: 2,
          dash,
          // A slice between two gaps is a point, or it would not be seen.
          points: { show: alone, size: 5 },
        })),
      ],
      hooks: { setCursor: [() => this.#follow()] },
    };
  }

  /** The legend's values and the tip: what is under the cursor, else the newest. */
  #follow() {
    const at = this.#plot?.cursor.idx ?? null;
    const pointed = at !== null && (this.#plot.cursor.left ?? -1) >= 0;
    const row = pointed ? at : this.#newest();
    this.#kind.series.forEach(({ column }, index) => {
      setText(this.#values[index], this.#kind.format(row === null ? null : this.#columns[column]?.[row] ?? null));
    });
    this.#tip.hidden = !pointed;
    if (pointed) this.#showTip(at);
  }

  #newest() {
    const names = this.#kind.series.map(({ column }) => column);
    for (let row = (this.#columns.at?.length ?? 0) - 1; row >= 0; row -= 1) {
      if (names.some((name) => this.#columns[name][row] !== null)) return row;
    }
    return null;
  }

  /** @param {number} row */
  #showTip(row) {
    setText(this.#tip, this.#sentence(row));
    const left = this.#plot.valToPos(/** @type {number} */ (this.#columns.at[row]), "x") + this.#plot.bbox.left / devicePixelRatio;
    const room = this.#holder.clientWidth - this.#tip.offsetWidth;
    this.#tip.style.transform = `translateX(${Math.max(0, Math.min(left - this.#tip.offsetWidth / 2, room))}px)`;
  }

  /** @param {number} row */
  #sentence(row) {
    const time = CLOCK.format(Number(this.#columns.at[row]) * 1000);
    const parts = this.#kind.series.map(({ name, column }) => `${name} ${this.#kind.format(this.#columns[column][row])}`);
    const measured = this.#kind.series.some(({ column }) => this.#columns[column][row] !== null);
    return `${time}  ${measured ? parts.join(" · ") : "not measured"}`;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const last = (this.#columns.at?.length ?? 0) - 1;
    const at = this.#plot.cursor.idx ?? this.#newest() ?? last;
    const wanted = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last, Escape: null }[event.key];
    if (wanted === undefined || last < 0) return;
    event.preventDefault();
    this.#point(wanted === null ? null : Math.max(0, Math.min(wanted, last)));
  }

  /** @param {number | null} row */
  #point(row) {
    const left = row === null ? -10 : this.#plot.valToPos(/** @type {number} */ (this.#columns.at[row]), "x");
    this.#plot.setCursor({ left, top: row === null ? -10 : 10 });
  }

  #resize() {
    const width = this.#holder.clientWidth;
    if (width && width !== this.#plot.width) this.#plot.setSize({ width, height: HEIGHT });
    this.#figure.classList.toggle("narrow", width < NARROW);
  }

  /** The same in words: for a screen reader always, and as a table for whoever opens it. */
  #tell() {
    const summary = this.#summary();
    this.#holder.setAttribute("aria-label", `${summary} The arrow keys go from slice to slice.`);
    setText(find(this.#figure, ".curve-summary"), summary);
    if (find(this.#figure, "details").open) this.#fillTable();
  }

  #summary() {
    const { series, format } = this.#kind;
    const parts = series.flatMap(({ name, column }) => {
      const known = (this.#columns[column] ?? []).filter((value) => value !== null);
      if (known.length === 0) return [];
      return [`${name}: ${format(average(known))} on average, ${format(Math.max(...known))} at most.`];
    });
    return parts.length ? `The last 15 minutes. ${parts.join(" ")}` : this.#kind.empty;
  }

  #fillTable() {
    const table = find(this.#figure, "table");
    const { series, format } = this.#kind;
    const rows = byMinute(this.#columns.at ?? []);
    resized(table.tHead, 1, series.length + 1, "th");
    resized(table.tBodies[0], rows.length, series.length + 1, "td");
    ["Minute", ...series.map(({ name }) => name)].forEach((name, at) => setText(table.tHead.rows[0].cells[at], name));
    rows.forEach(([minute, from, to], at) => {
      const { cells } = table.tBodies[0].rows[at];
      setText(cells[0], MINUTE.format(minute * 60_000));
      series.forEach(({ column }, index) => {
        const known = this.#columns[column].slice(from, to).filter((value) => value !== null);
        setText(cells[index + 1], format(known.length ? average(known) : null));
      });
    });
  }
}

/**
 * @param {Element} list
 * @param {Series} series
 */
function legendItem(list, { name, colour: variable, dash }) {
  const item = list.appendChild(document.createElement("li"));
  const swatch = item.appendChild(document.createElement("i"));
  swatch.style.borderTop = `3px ${dash ? "dotted" : "solid"} var(${variable})`;
  item.append(` ${name} `);
  const value = item.appendChild(document.createElement("b"));
  value.className = "num";
  return value;
}

/**
 * From 0 to a little more than the most, and never flat.
 *
 * @param {any} _plot
 * @param {number | null} _min
 * @param {number | null} max
 * @returns {[number, number]}
 */
function fromNothing(_plot, _min, max) {
  return [0, Math.max(max ?? 0, LEAST) * 1.1];
}

/**
 * Whole decades around what there is.
 *
 * @param {any} _plot
 * @param {number | null} min
 * @param {number | null} max
 * @returns {[number, number]}
 */
function decades(_plot, min, max) {
  const low = Math.floor(Math.log10(Math.max(min ?? 1, 0.1)));
  const high = Math.ceil(Math.log10(Math.max(max ?? 100, 1)));
  return [10 ** low, 10 ** Math.max(high, low + DECADES)];
}

/**
 * @param {any} _plot
 * @param {number} _axis
 * @param {number} min
 * @param {number} max
 */
function powers(_plot, _axis, min, max) {
  const first = Math.round(Math.log10(min));
  return Array.from({ length: Math.round(Math.log10(max)) - first + 1 }, (_, at) => 10 ** (first + at));
}

/**
 * @param {any} plot
 * @param {number} series
 * @returns {any} the rows of a column that have no neighbour
 */
function alone(plot, series) {
  const column = plot.data[series];
  return column.some(
    (/** @type {number | null} */ value, /** @type {number} */ row) =>
      value !== null && (column[row - 1] ?? null) === null && (column[row + 1] ?? null) === null,
  );
}

/**
 * @param {Column} at seconds
 * @returns {[minute: number, from: number, to: number][]} newest first
 */
function byMinute(at) {
  /** @type {[number, number, number][]} */
  const minutes = [];
  at.forEach((seconds, row) => {
    const minute = Math.floor(Number(seconds) / 60);
    if (minutes.at(-1)?.[0] !== minute) minutes.push([minute, row, row]);
    minutes[minutes.length - 1][2] = row + 1;
  });
  return minutes.reverse();
}

/**
 * Give a part of a table so many rows and columns; the cells that are there stay.
 *
 * @param {HTMLTableSectionElement} part
 * @param {number} rows
 * @param {number} columns
 * @param {"td" | "th"} cell
 */
function resized(part, rows, columns, cell) {
  while (part.rows.length > rows) part.deleteRow(-1);
  while (part.rows.length < rows) {
    const row = part.insertRow();
    for (let at = 0; at < columns; at += 1) row.appendChild(document.createElement(at === 0 ? "th" : cell));
  }
}

/** @param {Column} known */
function average(known) {
  return known.reduce((/** @type {number} */ sum, value) => sum + Number(value), 0) / known.length;
}

/** @param {string} variable */
function colour(variable) {
  return getComputedStyle(document.documentElement).getPropertyValue(variable);
}
