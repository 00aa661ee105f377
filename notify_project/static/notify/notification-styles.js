// @ts-check
/** The looks of one notification, within those of `<notify-inbox>` (inbox-styles.js). */
export const ITEM_STYLES = `
.notification {
  position: relative;
  padding-block: 0.85em 0.6em;
  padding-inline-start: 1.1em;
  border-bottom: 1px solid var(--_line);
}

.notification:last-child {
  border-bottom: 0;
}

.head {
  display: flex;
  flex-wrap: wrap;
  align-items: baseline;
  gap: 0 0.5em;
}

.is-unread {
  position: absolute;
  inset-block-start: 1.35em;
  inset-inline-start: 0;
  width: 0.6em;
  height: 0.6em;
  border-radius: 50%;
  background: var(--_accent);
}

.unread .title {
  font-weight: 650;
}

time {
  color: var(--_soft);
  font-size: 0.85em;
  font-variant-numeric: tabular-nums;
}

.body {
  margin-top: 0.2em;
  color: var(--_soft);
  unicode-bidi: isolate;
  white-space: pre-wrap;
}

.folded {
  display: -webkit-box;
  overflow: hidden;
  -webkit-box-orient: vertical;
  -webkit-line-clamp: 5;
  line-clamp: 5;
}

.foot {
  display: flex;
  flex-wrap: wrap;
  align-items: center;
  gap: 0.25em 0.75em;
  min-height: 2.2em;
  margin-top: 0.3em;
  font-size: 0.875em;
}

.type {
  max-width: 60%;
  overflow: hidden;
  padding: 0 0.5em;
  border-radius: 6px;
  background: var(--_sunken);
  color: var(--_soft);
  font: 0.9em/1.75 var(--_mono);
  text-overflow: ellipsis;
  white-space: nowrap;
}

.foot .mark-read {
  order: 2;
  font-size: 1em;
}

details {
  order: 1;
}

/* For those who build on it; a reader has no use for them. */
:host(:not([details])) :is(.type, details),
:host(:not([details])) .notification:not(.unread) .foot {
  display: none;
}

details[open] {
  flex: 1 0 100%;
  order: 3;
}

summary {
  color: var(--_soft);
  cursor: pointer;
}

pre {
  max-height: 20em;
  margin: 0.4em 0;
  padding: 0.6em 0.75em;
  overflow: auto;
  border-radius: 8px;
  background: var(--_sunken);
  color: var(--_text);
  font: 0.95em/1.5 var(--_mono);
  unicode-bidi: isolate;
  white-space: pre-wrap;
}
`;
