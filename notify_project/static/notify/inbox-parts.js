// @ts-check
/** The elements of which `<notify-inbox>` consists, apart from what they show. */

import { bellIcon, button, element } from "./inbox-elements.js";
import { openWith } from "./inbox-popover.js";

export class InboxParts {
  /** Called when the panel opens or closes. */
  onToggle = () => {};
  #open;

  /**
   * @param {(key: string) => string} say
   * @param {{heading: string, bell: boolean}} options  `bell`: the panel opens with the bell, else it stands open
   */
  constructor(say, { heading, bell }) {
    this.#open = !bell;
    this.badge = element("span", { class: "badge", part: "badge", "aria-hidden": "true", hidden: true });
    this.bell = element(bell ? "button" : "span", { class: "bell", part: "bell" }, bellIcon(), this.badge);
    this.unread = element("span", { class: "unread-count visually-hidden", role: "status" });
    this.state = element("span", { class: "connection-state" });
    this.connection = element("span", { class: "connection", part: "connection", role: "status" }, this.state);
    this.readAll = button("read-all quiet", "button mark-all-read", say("markAllRead"));
    this.reason = element("span", { class: "connection-reason", role: "status" });
    this.countdown = element("span", { class: "connection-retry" });
    this.retry = button("retry quiet", "button retry", say("retryNow"));
    this.retry.hidden = true;
    this.notes = element("div", { class: "connection-notes", part: "notes", hidden: true }, this.reason, this.countdown);
    this.notes.append(this.retry);
    this.notice = element("p", { class: "problem inbox-notice", part: "problem", role: "alert" });
    this.empty = element("p", { class: "nothing-yet", part: "empty", hidden: true }, say("empty"));
    this.loading = element("p", { class: "loading", part: "empty", hidden: true }, say("loading"));
    // The role, because Safari takes it away from a list without marks.
    this.list = element("ol", { class: "notifications", part: "list", role: "list", "aria-label": say("list") });
    this.problem = element("p", { class: "problem list-problem", part: "problem", role: "alert" });
    this.more = button("load-older", "button load-more", say("loadMore"));
    this.more.hidden = true;
    this.panel = this.#assemble(heading, bell);
    if (bell) this.#fold();
  }

  /** Whether somebody can see the list. */
  get open() {
    return this.#open;
  }

  /** What goes into the root, in this order. */
  get elements() {
    // The count speaks even while the panel is closed.
    return this.bell.localName === "button" ? [this.bell, this.unread, this.panel] : [this.unread, this.panel];
  }

  /**
   * @param {string} heading
   * @param {boolean} bell
   */
  #assemble(heading, bell) {
    const name = element("h2", { class: "heading", part: "heading" }, element("bdi", { class: "whose" }, heading));
    const bar = element("div", { class: "bar", part: "header" }, name, this.connection, this.readAll);
    if (!bell) bar.prepend(this.bell);
    const role = bell ? "dialog" : "group";
    const named = { class: "panel", part: "panel", role, "aria-label": heading, tabindex: "-1" };
    const panel = element("div", named, bar, this.notes);
    panel.append(this.notice, this.loading, this.empty, this.list, this.problem, this.more);
    return panel;
  }

  #fold() {
    this.bell.type = "button";
    openWith(this.bell, this.panel, (open) => {
      this.#open = open;
      this.onToggle();
    });
  }
}
