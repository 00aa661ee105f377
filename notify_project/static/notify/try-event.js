// @ts-check
/** One notification: sent, or asked to go wrong, and followed until it is stored or dead. */

import { callAsStaff } from "./api.js";
import { find } from "./dom.js";
import { heard, serverNow } from "./try-clock.js";
import { CONTENT, documentOf, TryForm } from "./try-form.js";
import { lifeOf } from "./try-item.js";
import { GROWN_OLD_MS, steps, story, until } from "./try-words.js";

/** @typedef {import("./try-activity.js").Activity} Activity */
/** @typedef {import("./try-item.js").Item} Item */
/** @typedef {import("./try-words.js").Life} Life */

const FIRST_LOOK_MS = 40;
const SLOWER = 1.6;
const LONGEST_MS = 1_000;
const FINAL = new Set(["stored", "dead", "cancelled"]);

const SIMULATOR_TYPE = "simulated";
/**
 * `wait` says what goes on while nothing is seen.
 *
 * @type {Record<string, {title: string, fault: object, wait?: string}>}
 */
const FAULTS = {
  twice: { title: "Fails twice", fault: { fail: 2 } },
  always: { title: "Always fails", fault: { fail: -1 } },
  invalid: { title: "Is invalid", fault: { invalid: true } },
  crash: {
    title: "Crashes its worker",
    fault: { crash: true },
    wait: "Its worker died. Another takes it over after some ten seconds, and dies too, until it is known who did it.",
  },
  slow: { title: "Is slow", fault: { sleep_ms: 5_000 }, wait: "Its worker is busy with it." },
};

/**
 * @param {HTMLElement} section
 * @param {Activity} activity
 */
export function setUpSend(section, activity) {
  new TryForm(find(section, "#try-send form"), (values, key) => {
    const names = ["recipient", ...CONTENT.filter((name) => name !== "data")];
    return send(activity, documentOf(values, names), values.recipient, values.title, key);
  });
}

/**
 * @param {HTMLElement} section
 * @param {Activity} activity
 */
export function setUpSimulator(section, activity) {
  const form = /** @type {HTMLFormElement | null} */ (section.querySelector("#try-simulator form"));
  if (form === null) return;
  new TryForm(form, ({ recipient, fault: name }, key) => {
    const { title, fault, wait } = FAULTS[name];
    const event = { recipient, type: SIMULATOR_TYPE, title, data: { fault } };
    // Another button asks for something else, so it needs another key.
    return send(activity, JSON.stringify(event), recipient, title, `${key}-${name}`, wait);
  });
}

/**
 * @param {Activity} activity
 * @param {string} document
 * @param {string} recipient
 * @param {string} title
 * @param {string} key
 * @param {string} [said] what goes on while it is queued
 */
async function send(activity, document, recipient, title, key, said) {
  const headers = { "Idempotency-Key": key };
  const { id } = await callAsStaff("/api/notify", { method: "POST", body: document, headers });
  heard(id);
  const item = activity.add({ kind: "event", id, title, to: recipient, at: new Date().toISOString(), said });
  activity.say(`Accepted: ${title}`);
  followEvent(item);
}

/**
 * Show what becomes of a notification.
 *
 * @param {Item} item
 * @param {(life: Life) => string} [told] its story, where that is another than usual
 */
export function followEvent(item, told = (life) => usual(item, life)) {
  const { id, to } = item.deed;
  let wait = FIRST_LOOK_MS;
  /** @type {Life | undefined} */
  let life;
  const show = () => life && item.show(life.status, told(life));
  item.show("queued");
  item.linkLife(id);
  item.linkInbox(to);
  item.follow(async () => {
    const found = /** @type {Life} */ (await lifeOf(id));
    wait = found.status === life?.status && found.attempts === life.attempts ? wait * SLOWER : FIRST_LOOK_MS;
    life = found;
    show();
    item.showSteps(steps(found));
    return ended(item, found) ? null : Math.min(wait, LONGEST_MS);
  }, show);
}

/**
 * @param {Item} item
 * @param {Life} life
 */
function usual(item, life) {
  const age = serverNow() - Date.parse(life.accepted_at);
  const isLong = life.status === "queued" && age > GROWN_OLD_MS;
  return isLong && item.deed.said ? `Not stored for ${until(age)}. ${item.deed.said}` : story(life, serverNow());
}

/**
 * @param {Item} item
 * @param {Life} life
 */
function ended(item, life) {
  if (!FINAL.has(life.status)) return false;
  if (life.status === "dead") item.link("Dead letters", item.addresses.deadLetters ?? "");
  item.end(`${life.status}: ${item.deed.title}. ${story(life, serverNow())}`);
  return true;
}
