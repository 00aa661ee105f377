// @ts-check
/** Tabs as the keyboard expects them: one is in the order of Tab, arrows go from one to the next, Home and End. */

/**
 * @param {HTMLElement} list with the role `tablist`
 */
export function setUpTabs(list) {
  const tabs = /** @type {HTMLElement[]} */ ([...list.querySelectorAll("[role=tab]")]);
  for (const tab of tabs) tab.addEventListener("click", () => select(tabs, tab));
  list.addEventListener("keydown", (event) => {
    const next = target(tabs, event.key);
    if (next === undefined) return;
    event.preventDefault();
    select(tabs, next);
    next.focus();
  });
}

/**
 * @param {HTMLElement[]} tabs
 * @param {HTMLElement} selected
 */
function select(tabs, selected) {
  for (const tab of tabs) {
    const isSelected = tab === selected;
    tab.setAttribute("aria-selected", String(isSelected));
    tab.tabIndex = isSelected ? 0 : -1;
    const panel = document.getElementById(tab.getAttribute("aria-controls") ?? "");
    panel?.toggleAttribute("hidden", !isSelected);
  }
  selected.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/**
 * @param {HTMLElement[]} tabs
 * @param {string} key
 */
function target(tabs, key) {
  const at = tabs.findIndex((tab) => tab.tabIndex === 0);
  const ends = { Home: 0, End: tabs.length - 1 };
  const steps = { ArrowRight: 1, ArrowLeft: -1 };
  if (key in ends) return tabs[ends[/** @type {"Home"} */ (key)]];
  if (key in steps) return tabs.at((at + steps[/** @type {"ArrowLeft"} */ (key)]) % tabs.length);
  return undefined;
}
