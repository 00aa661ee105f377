// @ts-check
/** How the status of a notification looks: one of the states that the whole dashboard has. */

/** @type {Map<string, string>} */
export const STATES = new Map([
  ["stored", "ok"],
  ["queued", "connecting"],
  ["retrying", "behind"],
  ["dead", "dead"],
  ["scheduled", "paused"],
  ["cancelled", "idle"],
]);
