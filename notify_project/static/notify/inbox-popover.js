// @ts-check
/** The panel that a bell opens. In the browser's top layer, so nothing of the page cuts it off. */

const MARGIN = 8;

/**
 * Opens and closes a panel with a button: a click beside it and Escape close it, and the focus comes back.
 *
 * @param {HTMLButtonElement} bell
 * @param {HTMLElement} panel
 * @param {(open: boolean) => void} toggled
 */
export function openWith(bell, panel, toggled) {
  panel.popover = "auto";
  bell.popoverTargetElement = panel;
  bell.setAttribute("aria-haspopup", "dialog");
  bell.setAttribute("aria-expanded", "false");
  let following = new AbortController();
  let focused = false;
  panel.addEventListener("beforetoggle", (event) => {
    // Before it is shown, so that what is in it is there when it is; and before the focus in it is lost.
    if (/** @type {ToggleEvent} */ (event).newState === "open") toggled(true);
    else focused = panel.matches(":focus-within");
  });
  panel.addEventListener("toggle", (event) => {
    const open = /** @type {ToggleEvent} */ (event).newState === "open";
    bell.setAttribute("aria-expanded", String(open));
    following.abort();
    if (open) {
      following = follow(bell, panel);
      panel.focus({ preventScroll: true });
    } else {
      toggled(false);
      // Not where a click beside the panel has put it.
      if (focused) bell.focus({ preventScroll: true });
    }
  });
}

/**
 * Keep the panel at its bell while the page moves, until that is aborted.
 *
 * @param {HTMLElement} bell
 * @param {HTMLElement} panel
 */
function follow(bell, panel) {
  const following = new AbortController();
  const { signal } = following;
  // A panel that is taken out of the page while it is open says nothing any more.
  const move = () => (panel.isConnected ? place(panel, bell.getBoundingClientRect()) : following.abort());
  window.addEventListener("scroll", move, { signal, capture: true, passive: true });
  window.addEventListener("resize", move, { signal });
  move();
  return following;
}

/**
 * Below the bell, or above where there is more room; in line with its end, and on the screen in any case.
 *
 * @param {HTMLElement} panel
 * @param {DOMRect} bell
 */
function place(panel, bell) {
  const { clientWidth: width, clientHeight: height } = document.documentElement;
  const below = height - bell.bottom - 2 * MARGIN;
  const above = bell.top - 2 * MARGIN;
  const upward = below < Math.min(above, 320);
  const { direction } = getComputedStyle(panel);
  const wanted = direction === "rtl" ? bell.left : bell.right - panel.offsetWidth;
  const left = Math.max(MARGIN, Math.min(wanted, width - panel.offsetWidth - MARGIN));
  panel.style.maxHeight = `${Math.max(upward ? above : below, 160)}px`;
  panel.style.left = `${left}px`;
  panel.style.top = upward ? "auto" : `${bell.bottom + MARGIN}px`;
  panel.style.bottom = upward ? `${height - bell.top + MARGIN}px` : "auto";
}
