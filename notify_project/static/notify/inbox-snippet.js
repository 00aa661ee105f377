// @ts-check
/** "Put this into your page": what to copy, with this server's own address in it. */

import { find, setText } from "./dom.js";

/** @param {HTMLElement} panel */
export function showSnippets(panel) {
  const file = new URL("./notify-inbox.js", import.meta.url);
  const html = find(panel, "#embed-html code");
  setText(html, `<script type="module" src="${file}"></script>\n<notify-inbox token-url="/notify-token"></notify-inbox>`);
  setText(
    find(panel, "#embed-token code"),
    `POST ${file.origin}/api/recipients/alice/token\nAuthorization: Bearer nk_…   (scope "send")`,
  );
  find(panel, ".copy").addEventListener("click", async () => {
    setText(find(panel, ".copied"), "");
    setText(find(panel, ".copied"), await copied(html));
  });
}

/**
 * @param {HTMLElement} element
 * @returns {Promise<string>} what came of it
 */
export async function copied(element) {
  try {
    await navigator.clipboard.writeText(element.textContent ?? "");
    return "Copied.";
  } catch {
    // Plain HTTP beyond localhost has no clipboard.
    getSelection()?.selectAllChildren(element);
    return "It is selected: press Ctrl+C, or ⌘C, to copy it.";
  }
}
