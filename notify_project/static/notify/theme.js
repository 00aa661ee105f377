// Runs before the first paint, so that a dark page does not flash: Tabler knows its theme by an attribute.
const dark = matchMedia("(prefers-color-scheme: dark)");
const KEY = "notify-theme";

/** @returns {string} what the viewer chose, else what the system says */
function theme() {
  return localStorage.getItem(KEY) ?? (dark.matches ? "dark" : "light");
}

function apply() {
  document.documentElement.dataset.bsTheme = theme();
}

dark.addEventListener("change", apply);
addEventListener("storage", apply);
apply();
