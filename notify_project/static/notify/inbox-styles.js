// @ts-check
/**
 * The looks of `<notify-inbox>`, as a sheet that only its shadow root has: nothing of the page gets in but what is named
 * `--notify-…`, and no policy for styles stands in its way. Sizes are in `em`: of the text around the element.
 */

import { ITEM_STYLES } from "./notification-styles.js";

const STYLES = `
:host {
  --_accent: var(--notify-accent, light-dark(#3b50ce, #94a4ff));
  --_on-accent: var(--notify-on-accent, light-dark(#fff, #12163a));
  --_surface: var(--notify-surface, light-dark(#fff, #1b1e28));
  --_sunken: var(--notify-sunken, light-dark(#f1f2f6, #242835));
  --_text: var(--notify-text, light-dark(#1b1e28, #e8eaf1));
  --_soft: var(--notify-soft, light-dark(#5a6072, #a3a9bb));
  --_line: var(--notify-line, light-dark(#dcdfe7, #323747));
  --_badge: var(--notify-badge, #c8102e);
  --_on-badge: var(--notify-on-badge, #fff);
  --_good: var(--notify-good, light-dark(#146c3f, #6fd79d));
  --_warn: var(--notify-warn, light-dark(#8a4b00, #f2b866));
  --_bad: var(--notify-bad, light-dark(#b3261e, #ff9a92));
  --_radius: var(--notify-radius, 10px);
  --_mono: var(--notify-mono, ui-monospace, "SF Mono", "Cascadia Code", Menlo, Consolas, "DejaVu Sans Mono", monospace);

  display: inline-block;
  font-family: var(--notify-font-family, inherit);
  font-size: var(--notify-font-size, inherit);
  font-style: normal;
  font-weight: 400;
  letter-spacing: normal;
  line-height: 1.5;
  overflow-wrap: anywhere;
  text-align: start;
  text-transform: none;
  white-space: normal;
}

:host([mode="panel"]) {
  display: block;
}

:host([theme="light"]) {
  color-scheme: light;
}

:host([theme="dark"]) {
  color-scheme: dark;
}

:host([hidden]),
[hidden] {
  display: none !important;
}

*,
::before,
::after {
  box-sizing: border-box;
}

h2,
p,
ol {
  margin: 0;
  padding: 0;
}

ol {
  list-style: none;
}

bdi {
  unicode-bidi: isolate;
}

:focus-visible {
  outline: 3px solid var(--_accent);
  outline-offset: 2px;
}

.panel:focus-visible {
  outline-offset: -3px;
}

.visually-hidden {
  position: absolute;
  width: 1px;
  height: 1px;
  overflow: hidden;
  clip-path: inset(50%);
  white-space: nowrap;
}

button {
  padding: 0.35em 0.75em;
  border: 1px solid var(--_line);
  border-radius: 8px;
  background: none;
  color: inherit;
  font: inherit;
  font-weight: 600;
  cursor: pointer;
}

button:hover {
  background: var(--_sunken);
}

button:disabled,
button[aria-disabled="true"] {
  opacity: 0.55;
  cursor: default;
}

button.quiet {
  border-color: transparent;
  color: var(--_accent);
  font-size: 0.875em;
}

button.link,
button.open {
  padding: 0;
  border: 0;
  border-radius: 2px;
  background: none;
}

button.link {
  color: var(--_accent);
  font-size: 0.875em;
}

button.link:hover,
button.open:hover {
  text-decoration: underline;
}

button.open {
  flex: 1 1 10em;
  min-width: 0;
  font-weight: inherit;
  text-align: start;
}

.bell {
  position: relative;
  display: inline-flex;
  padding: 0.45em;
  color: var(--notify-bell, inherit);
}

button.bell {
  border: 0;
  border-radius: 50%;
}

button.bell:hover {
  background: color-mix(in srgb, currentcolor 12%, transparent);
}

.bell .icon {
  width: var(--notify-bell-size, 1.5em);
  height: var(--notify-bell-size, 1.5em);
}

span.bell {
  padding: 0.15em 0;
  padding-inline-end: 0.4em;
}

.badge {
  position: absolute;
  inset-block-start: -0.1em;
  inset-inline-start: 1.6em;
  min-width: 1.75em;
  padding: 0 0.4em;
  border-radius: 99px;
  background: var(--_badge);
  color: var(--_on-badge);
  font-size: 0.7em;
  font-weight: 700;
  line-height: 1.75em;
  text-align: center;
  white-space: nowrap;
  font-variant-numeric: tabular-nums;
}

span.bell .badge {
  inset-block-start: -0.5em;
  inset-inline-start: 1.1em;
}

.bell[data-state="waiting"] .icon,
.bell[data-state="stopped"] .icon {
  opacity: 0.5;
}

.panel {
  color: var(--_text);
}

.panel[popover] {
  position: fixed;
  inset: auto;
  margin: 0;
  width: var(--notify-panel-width, 24em);
  max-width: calc(100vw - 16px);
  padding: 0 1em;
  overflow: auto;
  overscroll-behavior: contain;
  border: 1px solid var(--_line);
  border-radius: var(--_radius);
  background: var(--_surface);
  box-shadow: 0 8px 32px rgb(10 14 30 / 22%);
}

.panel[popover] .bar {
  position: sticky;
  z-index: 1;
  inset-block-start: 0;
  margin-inline: -1em;
  padding: 0.75em 1em 0.6em;
  background: var(--_surface);
}

.bar {
  display: flex;
  flex-wrap: wrap;
  align-items: center;
  gap: 0.35em 0.75em;
  padding-bottom: 0.7em;
  border-bottom: 1px solid var(--_line);
}

h2 {
  flex: 0 1 auto;
  min-width: 0;
  overflow: hidden;
  color: inherit;
  font-size: 1.05em;
  font-weight: 650;
  line-height: 1.4;
  text-overflow: ellipsis;
  white-space: nowrap;
}

.connection {
  display: inline-flex;
  align-items: center;
  gap: 0.4em;
  color: var(--_soft);
  font-size: 0.8em;
  font-weight: 600;
  white-space: nowrap;
}

.connection::before {
  content: "";
  width: 0.65em;
  height: 0.65em;
  border-radius: 50%;
  background: currentcolor;
}

.connection[data-state="live"] {
  color: var(--_good);
}

.connection[data-state="connecting"],
.connection[data-state="waiting"] {
  color: var(--_warn);
}

.connection[data-state="waiting"]::before {
  border-radius: 0;
  clip-path: polygon(50% 0, 100% 100%, 0 100%);
}

.connection[data-state="stopped"] {
  color: var(--_bad);
}

.connection[data-state="stopped"]::before {
  border-radius: 0;
}

.read-all,
.mark-read {
  margin-inline-start: auto;
  margin-inline-end: -0.75em;
}

.connection-notes {
  display: flex;
  flex-wrap: wrap;
  align-items: center;
  gap: 0.1em 0.5em;
  margin-top: 0.75em;
  padding: 0.4em 0.75em;
  border-radius: 8px;
  background: var(--_sunken);
  font-size: 0.9em;
}

.retry {
  margin-inline-start: -0.75em;
}

.connection-retry {
  color: var(--_soft);
  font-variant-numeric: tabular-nums;
}

.problem {
  padding-top: 0.6em;
  color: var(--_bad);
  font-size: 0.9em;
}

.problem:empty {
  display: none;
}

.nothing-yet,
.loading {
  padding: 2.25em 1em;
  color: var(--_soft);
  text-align: center;
}

.load-older {
  display: block;
  margin: 0.75em auto;
}
`;

/** @type {CSSStyleSheet | null} */
let shared = null;

/** One sheet for all elements of a page. */
export function styleSheet() {
  if (shared === null) {
    shared = new CSSStyleSheet();
    shared.replaceSync(STYLES + ITEM_STYLES);
  }
  return shared;
}
