// @ts-check
/** Wires the flow page: frames in, stages, arrows, banner and curves out. */

import { Connection } from "./connection.js";
import { Curves } from "./curves.js";
import { find, setText } from "./dom.js";
import { Banner, cutOff, judged } from "./flow-banner.js";
import { Lines } from "./flow-lines.js";
import { StageCard } from "./flow-stage.js";
import { ms } from "./numbers.js";

const flow = find(document, "#flow");
/** @type {Map<string, StageCard>} */
const cards = new Map(
  [...flow.querySelectorAll(".stage")].map((element) => [element.dataset.stage, new StageCard(element)]),
);
const lines = new Lines(find(flow, ".flow-lines"), cards);
const banner = new Banner(find(document, "#banner"), find(document, "#spoken"));
const curves = new Curves(find(document, "#curves"));
const latencies = [...flow.querySelectorAll("[data-latency]")];
const connection = new Connection(find(document, "#connection"), "flow");
let drawing = 0;
/** The newest frame: a page that nobody looks at draws none, and then this one. @type {any} */
let newest;

connection.onFrame = (frame) => {
  if (frame.type === "point") curves.add(frame);
  if (frame.type !== "flow") return;
  newest = frame;
  drawing ||= requestAnimationFrame(draw);
};

function draw() {
  drawing = 0;
  for (const [name, card] of cards) if (newest.stages[name]) card.show(newest.stages[name]);
  for (const shown of latencies) setText(shown, ms(newest.latency[shown.dataset.latency]));
  lines.show(newest.stages);
  banner.show(judged(newest.stages, cards));
  flow.classList.remove("old");
}

connection.onSilence = (sinceMs, signIn) => {
  flow.classList.add("old");
  lines.rest();
  banner.show(cutOff(sinceMs, signIn));
};

connection.onReturn = () => curves.load();
curves.load();
