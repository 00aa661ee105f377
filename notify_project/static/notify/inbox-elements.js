// @ts-check
/** Elements made by hand: no markup is parsed, so a page may ask for Trusted Types and a strict policy. */

const SVG = "http://www.w3.org/2000/svg";
const BELL = "M6 9a6 6 0 0 1 12 0c0 5 2 6.5 2 7.5H4C4 15.5 6 14 6 9zM9.8 19.5a2.3 2.3 0 0 0 4.4 0";

/**
 * An element with attributes and children. A text becomes a text node; an attribute that is true stands without a value,
 * one that is false is left out.
 *
 * @param {string} name
 * @param {Record<string, string | boolean>} [attributes]
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/**
 * A button that sends nothing.
 *
 * @param {string} className
 * @param {string} part
 * @param {string} text
 * @returns {HTMLButtonElement}
 */
export function button(className, part, text) {
  return element("button", { type: "button", class: className, part }, text);
}

/** The bell, in the colour of the text around it. */
export function bellIcon() {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  const look = { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": "1.8" };
  const ends = { "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true", class: "icon" };
  for (const [key, value] of Object.entries({ ...look, ...ends })) svg.setAttribute(key, value);
  path.setAttribute("d", BELL);
  svg.append(path);
  return svg;
}
