// @ts-check
/** The little that the views need of the DOM. Text goes in by `textContent` alone, so it is never markup. */

/**
 * The one element that a selector finds; throws when the page has none.
 *
 * @param {ParentNode} root
 * @param {string} selector
 * @returns {any}
 */
export function find(root, selector) {
  const element = root.querySelector(selector);
  if (element === null) throw new Error(`nothing on this page is ${selector}`);
  return element;
}

/**
 * A copy of the first element of a `<template>`.
 *
 * @param {string} id
 * @returns {HTMLElement}
 */
export function copyOf(id) {
  return find(document, `#${id}`).content.firstElementChild.cloneNode(true);
}

/**
 * Set an element's text, only when it differs: a live region speaks at every change.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Show a moment in the viewer's own zone and language, with the exact UTC on hover.
 *
 * @param {HTMLTimeElement} element
 * @param {string} moment RFC 3339
 */
export function showTime(element, moment) {
  const date = new Date(moment);
  const today = date.toDateString() === new Date().toDateString();
  const format = today ? TIME : DATE_AND_TIME;
  element.dateTime = moment;
  element.title = moment.replace("T", " ").replace("Z", " UTC");
  setText(element, format.format(date));
}

const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const DATE_AND_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
