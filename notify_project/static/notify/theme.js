// Runs before the first paint, so that a dark page does not flash: Tabler knows its theme by an attribute.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const KEY = "notify-theme";
  const NAME = `input[name="${KEY}"]`;
  // A browser that keeps nothing for us has it for as long as the page lives.
  let chosen = "system";

  /** @returns {string} light, dark or system */
  function choice() {
    try {
      chosen = localStorage.getItem(KEY) ?? chosen;
    } catch {}
    return ["light", "dark"].includes(chosen) ? chosen : "system";
  }

  function apply() {
    const wanted = choice();
    document.documentElement.dataset.bsTheme = wanted === "system" ? (dark.matches ? "dark" : "light") : wanted;
    for (const input of document.querySelectorAll(NAME)) input.checked = input.value === wanted;
  }

  /** @param {Event} event */
  function choose({ target }) {
    if (!target.matches(NAME)) return;
    chosen = target.value;
    try {
      localStorage.setItem(KEY, chosen);
    } catch {}
    apply();
  }

  dark.addEventListener("change", apply);
  addEventListener("storage", apply);
  addEventListener("pageshow", apply);
  document.addEventListener("DOMContentLoaded", apply);
  document.addEventListener("change", choose);
  apply();
})();
