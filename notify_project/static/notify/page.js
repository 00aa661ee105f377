// @ts-check
/** Wires the page of inboxes: who is watched, what is sent, and how to have the same elsewhere. */

import { find } from "./dom.js";
import { InboxChooser } from "./inbox-chooser.js";
import { showSnippets } from "./inbox-snippet.js";
import { SendForm } from "./send-form.js";

const panel = find(document, "#inbox");
const chooser = new InboxChooser(panel);
new SendForm(find(document, "#send"), {
  signIn: find(document, "main").dataset.signIn,
  onWatch: (recipient) => {
    chooser.watch(recipient);
    panel.scrollIntoView({ block: "nearest" }); // on a phone it is above
  },
});
showSnippets(find(document, "#embed"));

const asked = new URL(location.href).searchParams.get("recipient");
if (asked) chooser.watch(asked);
