// @ts-check
/** The arrows between the stages: drawn where the stages are, as thick and as fast as what flows. */

import { isTrouble } from "./flow-stage.js";

/**
 * @typedef {import("./flow-stage.js").Stage} Stage
 * @typedef {{x: number, y: number}} Point
 * @typedef {"left" | "right" | "top" | "bottom"} Side
 * @typedef {[side: Side, at: number]} Port  where at a stage, `at` a share of its side
 * @typedef {{from: string, to: string, wide: [Port, Port], narrow?: [Port, Port]}} Link
 */

const SVG = "http://www.w3.org/2000/svg";
const CORNER = 12;
const HEAD = 7;
const DASH = 12;
const DASHES_MS = 1_000;

/** @type {Link[]} */
const LINKS = [
  { from: "api", to: "live", wide: [["right", 0.5], ["left", 0.5]], narrow: [["bottom", 0.25], ["top", 0.5]] },
  { from: "schedule", to: "live", wide: [["right", 0.5], ["left", 0.22]] },
  { from: "bulk_jobs", to: "bulk", wide: [["right", 0.5], ["left", 0.5]] },
  { from: "live", to: "workers", wide: [["right", 0.5], ["left", 0.5]], narrow: [["bottom", 0.5], ["top", 0.25]] },
  { from: "bulk", to: "workers", wide: [["right", 0.3], ["left", 0.78]], narrow: [["bottom", 0.5], ["top", 0.75]] },
  { from: "workers", to: "postgresql", wide: [["right", 0.5], ["left", 0.5]], narrow: [["bottom", 0.5], ["top", 0.5]] },
  { from: "postgresql", to: "sockets", wide: [["right", 0.5], ["left", 0.5]], narrow: [["bottom", 0.5], ["top", 0.5]] },
  { from: "workers", to: "retry", wide: [["top", 0.5], ["right", 0.5]] },
  { from: "retry", to: "live", wide: [["bottom", 0.5], ["top", 0.5]] },
  { from: "workers", to: "dlq", wide: [["bottom", 0.5], ["top", 0.5]] },
  { from: "dlq", to: "bulk", wide: [["left", 0.72], ["right", 0.72]] },
];

export class Lines {
  /**
   * @param {SVGElement} svg
   * @param {Map<string, {element: HTMLElement}>} cards
   */
  constructor(svg, cards) {
    this.#svg = svg;
    this.#cards = cards;
    this.#lines = LINKS.map((link) => new Line(svg, link));
    const observer = new ResizeObserver(() => this.#place());
    observer.observe(/** @type {Element} */ (svg.parentElement));
    for (const { element } of cards.values()) observer.observe(element);
  }

  #svg;
  #cards;
  #lines;

  /** @param {Record<string, Stage>} stages */
  show(stages) {
    const rates = ratesOf(stages);
    for (const line of this.#lines) {
      line.show(rates[`${line.link.from} ${line.link.to}`] ?? 0, stages[line.link.to]?.state ?? "unknown");
    }
  }

  /** Nothing is known to flow. */
  rest() {
    for (const line of this.#lines) line.show(0, "unknown");
  }

  #place() {
    const own = this.#svg.getBoundingClientRect();
    const wide = this.#columns() > 2;
    for (const line of this.#lines) {
      const ports = wide ? line.link.wide : line.link.narrow;
      const from = this.#cards.get(line.link.from);
      const to = this.#cards.get(line.link.to);
      if (!ports || !from || !to) line.hide();
      else line.draw(port(from.element, ports[0], own), port(to.element, ports[1], own), ports[0][0], ports[1][0]);
    }
  }

  #columns() {
    return getComputedStyle(/** @type {Element} */ (this.#svg.parentElement)).gridTemplateColumns.split(" ").length;
  }
}

class Line {
  /**
   * @param {SVGElement} svg
   * @param {Link} link
   */
  constructor(svg, link) {
    this.link = link;
    this.#group = svg.appendChild(document.createElementNS(SVG, "g"));
    this.#ground = this.#path("ground");
    this.#moving = this.#path("moving");
    this.#head = this.#path("head");
    const frames = [{ strokeDashoffset: "0" }, { strokeDashoffset: `${-2 * DASH}` }];
    this.#animation = this.#moving.animate(frames, { duration: DASHES_MS, iterations: Infinity });
    this.#animation.pause();
    STILL.addEventListener("change", () => this.#play());
  }

  #group;
  #ground;
  #moving;
  #head;
  #animation;
  #rate = 0;

  /**
   * @param {number} rate per second
   * @param {string} state of where it leads
   */
  show(rate, state) {
    const told = isTrouble(state) ? state : "";
    if (this.#group.dataset.state !== told) this.#group.dataset.state = told;
    // Steps, so that a rate which trembles makes no line tremble.
    const rounded = rate > 0 ? Math.round(4 * Math.log10(1 + rate)) / 4 || 0.25 : 0;
    if (rounded === this.#rate) return;
    this.#rate = rounded;
    this.#group.classList.toggle("flows", rounded > 0);
    this.#group.style.setProperty("--thickness", String(2 + Math.min(rounded, 4)));
    this.#play();
  }

  /**
   * @param {Point} start
   * @param {Point} end
   * @param {Side} leaving
   * @param {Side} entering
   */
  draw(start, end, leaving, entering) {
    const back = { left: [-1, 0], right: [1, 0], top: [0, -1], bottom: [0, 1] }[entering];
    const tip = { x: end.x + 2 * back[0], y: end.y + 2 * back[1] };
    const neck = { x: tip.x + HEAD * back[0], y: tip.y + HEAD * back[1] };
    const way = rounded(corners(start, neck, leaving, entering));
    this.#ground.setAttribute("d", way);
    this.#moving.setAttribute("d", way);
    this.#head.setAttribute("d", head(tip, neck));
    this.#group.toggleAttribute("hidden", false);
  }

  hide() {
    this.#group.toggleAttribute("hidden", true);
  }

  #play() {
    if (this.#rate === 0 || STILL.matches) this.#animation.pause();
    else {
      this.#animation.updatePlaybackRate(0.5 + 0.6 * this.#rate);
      this.#animation.play();
    }
  }

  /** @param {string} name */
  #path(name) {
    const path = this.#group.appendChild(document.createElementNS(SVG, "path"));
    path.setAttribute("class", name);
    return path;
  }
}

const STILL = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * What flows along each arrow, per second, as far as it is known.
 *
 * @param {Record<string, Stage>} stages
 * @returns {Record<string, number>}
 */
function ratesOf(stages) {
  const of = (/** @type {string} */ name) => stages[name]?.rate ?? 0;
  const waits = (/** @type {string} */ name) => ((stages[name]?.count ?? 0) > 0 ? 1 : 0);
  // The workers count what they store, not from which lane it came: it is shared out by what goes in.
  const live = of("api") + of("schedule") + waits("live");
  const bulk = of("bulk_jobs") + waits("bulk");
  const ofLive = live + bulk > 0 ? live / (live + bulk) : 1;
  return {
    "api live": of("api"),
    "schedule live": of("schedule"),
    "bulk_jobs bulk": of("bulk_jobs"),
    "live workers": of("workers") * ofLive,
    "bulk workers": of("workers") * (1 - ofLive),
    "workers postgresql": of("workers"),
    "postgresql sockets": of("sockets"),
    "workers retry": of("retry"),
    "retry live": of("retry"),
    "workers dlq": of("dlq"),
  };
}

/**
 * @param {Element} element
 * @param {Port} at
 * @param {DOMRect} own
 * @returns {Point}
 */
function port(element, [side, share], own) {
  const box = element.getBoundingClientRect();
  const x = side === "left" ? box.left : side === "right" ? box.right : box.left + box.width * share;
  const y = side === "top" ? box.top : side === "bottom" ? box.bottom : box.top + box.height * share;
  return { x: x - own.left, y: y - own.top };
}

/**
 * The points of a way that goes only along the page's sides.
 *
 * @param {Point} start
 * @param {Point} end
 * @param {Side} leaving
 * @param {Side} entering
 * @returns {Point[]}
 */
function corners(start, end, leaving, entering) {
  const across = (/** @type {Side} */ side) => side === "left" || side === "right";
  if (across(leaving) && across(entering)) {
    const x = (start.x + end.x) / 2;
    return [start, { x, y: start.y }, { x, y: end.y }, end];
  }
  if (!across(leaving) && !across(entering)) {
    // Nearly straight is straight.
    if (Math.abs(start.x - end.x) < CORNER) return [{ x: end.x, y: start.y }, end];
    const y = (start.y + end.y) / 2;
    return [start, { x: start.x, y }, { x: end.x, y }, end];
  }
  return [start, across(leaving) ? { x: end.x, y: start.y } : { x: start.x, y: end.y }, end];
}

/**
 * @param {Point[]} points
 * @returns {string} a path with round corners
 */
function rounded(points) {
  const last = points.length - 1;
  const turns = points.slice(1, last).map((corner, index) => {
    const [into, out] = [toward(corner, points[index]), toward(corner, points[index + 2])];
    return `L${into.x} ${into.y}Q${corner.x} ${corner.y} ${out.x} ${out.y}`;
  });
  return `M${points[0].x} ${points[0].y}${turns.join("")}L${points[last].x} ${points[last].y}`;
}

/**
 * A corner's radius from it towards another point, or half of the way when it is near.
 *
 * @param {Point} corner
 * @param {Point} other
 * @returns {Point}
 */
function toward(corner, other) {
  const far = Math.hypot(other.x - corner.x, other.y - corner.y);
  const share = far ? Math.min(CORNER, far / 2) / far : 0;
  return { x: corner.x + (other.x - corner.x) * share, y: corner.y + (other.y - corner.y) * share };
}

/**
 * @param {Point} tip
 * @param {Point} neck
 */
function head(tip, neck) {
  const [x, y] = [(neck.y - tip.y) * 0.75, (tip.x - neck.x) * 0.75];
  return `M${tip.x} ${tip.y}L${neck.x + x} ${neck.y + y}L${neck.x - x} ${neck.y - y}z`;
}
