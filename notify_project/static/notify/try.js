// @ts-check
/** Wires "Try it". */

import { find } from "./dom.js";
import { Activity } from "./try-activity.js";
import { followBulk, setUpBulk } from "./try-bulk.js";
import { recallBurst, setUpBurst } from "./try-burst.js";
import { followEvent, setUpSend, setUpSimulator } from "./try-event.js";
import { followSchedule, setUpSchedule } from "./try-schedule.js";
import { setUpTabs } from "./try-tabs.js";

const section = /** @type {HTMLElement} */ (find(document, "#try"));
const activity = new Activity(section);

setUpTabs(find(section, "[role=tablist]"));
for (const setUp of [setUpSend, setUpBurst, setUpSchedule, setUpBulk, setUpSimulator]) setUp(section, activity);
activity.restore({ event: followEvent, burst: recallBurst, schedule: followSchedule, bulk: followBulk });
