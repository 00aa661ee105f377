// @ts-check
/** Wires the first page. */

import { find } from "./dom.js";
import { InboxView } from "./inbox-view.js";
import { SendForm } from "./send-form.js";

const panel = find(document, "#inbox");
const inbox = new InboxView(panel);
new SendForm(find(document, "#send"), {
  signIn: find(document, "main").dataset.signIn,
  onWatch: (recipient) => {
    inbox.watch(recipient);
    panel.scrollIntoView({ block: "nearest" }); // on a phone it is below
  },
});

const asked = new URL(location.href).searchParams.get("recipient");
if (asked) inbox.watch(asked);
