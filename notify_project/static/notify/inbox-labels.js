// @ts-check
/** All words of `<notify-inbox>`. A page replaces any of them by the element's property `labels`. */

/**
 * @typedef {Record<string, string | number>} Values
 * @typedef {string | ((values: any) => string)} Label  A text in which `{name}` stands for a value; or a function of the
 *   values, for languages with more than one plural.
 */

/** @type {Record<string, Label>} */
export const ENGLISH = {
  heading: "Notifications",
  list: "Notifications, newest first",
  bell: "Notifications, {unread}",
  unread: "{count} unread",
  unreadItem: "Unread:",
  markRead: "Mark read",
  markAllRead: "Mark all read",
  notMarked: "There is no connection, so nothing was marked read. Try again when it is back.",
  showAll: "Show all",
  showLess: "Show less",
  data: "Data",
  loading: "Loading …",
  empty: "Nothing here yet. What arrives from now on shows up by itself.",
  loadMore: "Load more",
  refused: "The server says: {detail}.",

  connecting: "connecting",
  live: "live",
  waiting: "offline",
  stopped: "stopped",
  retrying: "Retrying in {seconds} s.",
  retryNow: "Retry now",

  lost: "The connection is lost.",
  notReady: "The server is not ready.",
  noAnswer: "The server does not answer.",
  tooMany: "This recipient has too many open connections, or this one was too slow.",
  foreignOrigin: "The server takes no connections from pages of this address.",
  badToken: "The server does not accept the token of this inbox.",
  tokenExpired: "The token of this inbox has expired. Reload the page for a new one.",
  noToken: "This inbox has no token yet.",
  noServer: "The address of the server is none: it takes https://host.",
  problem: "{detail}",
};

/**
 * Says what a key says, in the words of the page where it has some.
 *
 * @param {Record<string, Label>} own
 * @returns {(key: string, values?: Values) => string}
 */
export function wording(own) {
  return (key, values = {}) => {
    const label = own[key] ?? ENGLISH[key] ?? key;
    if (typeof label === "function") return String(label(values));
    return label.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
  };
}
