"""Every Redis key, built here and nowhere else.

All keys of one recipient share a hash slot: shard `s = crc16(recipient) % NOTIFY_SHARDS`, written as the hash tag
`{s}`. So each script touches one slot and runs on Redis Cluster as it is.
"""

from typing import Final, Literal

from notifications import events

Lane = Literal["live", "bulk"]
LANES: Final[tuple[Lane, ...]] = ("live", "bulk")
GROUP: Final = "workers"
RECORDERS: Final = "recorders"


def shard_of(recipient: str, shards: int) -> int:
    """The shard that holds everything of a recipient."""
    return events.route(recipient) % shards


def shard_of_id(event_id: str, shards: int) -> int:
    """The shard of the event with this id, from the route in its last 16 bits."""
    return events.route_of(event_id) % shards


def lane(shard: int, name: Lane) -> str:
    """STREAM, group `workers`. One entry an event: `event` = the event's JSON; or, in `bulk`, one entry a chunk of a
    bulk job: `event` = what all get, `to` = the recipients, a line each. Written by accept.lua, by what moves due
    events in, by fan.lua and spread.lua; entries leave by XDEL when they are settled, never by MAXLEN."""
    return f"notify:{{{shard}}}:{name}"


def dead_letters(shard: int) -> str:
    """STREAM, group `recorders`. One entry a dead event: `event` (its payload), `id` (empty where the
    payload tells none), `reason`, `error`, `attempts`, `failed_ms`. Written by settle.lua; entries leave by record.lua
    when they are rows."""
    return f"notify:{{{shard}}}:dlq"


def inflight(shard: int) -> str:
    """HASH of accepted events that are no rows yet: id → `<state> <place> <where>`: `queued <lane> <entry id>`,
    `retrying delayed <due ms>` or `dead dlq <entry id> <life>`; an event in a chunk is not among them. Written by
    accept.lua, settle.lua, move.lua, readmit.lua, fire.lua, step.lua, run.lua and spread.lua; settle.lua takes away
    what was stored, record.lua what is a dead letter's row."""
    return f"notify:{{{shard}}}:inflight"


def delayed(shard: int) -> str:
    """ZSET of events that wait for their time: id by due time, Unix ms of Redis' clock. Written by settle.lua;
    move.lua takes away what is due."""
    return f"notify:{{{shard}}}:delayed"


def payloads(shard: int) -> str:
    """HASH beside `delayed`: id → `<lane> <the event's JSON>`. Written and emptied with it."""
    return f"notify:{{{shard}}}:payloads"


def scheduled(shard: int) -> str:
    """ZSET of schedules that wait: id by due time, Unix ms of Redis' clock. Written by plan.lua, replan.lua, step.lua
    and restore.lua; fire.lua takes away what fires once."""
    return f"notify:{{{shard}}}:scheduled"


def schedules(shard: int) -> str:
    """HASH beside `scheduled`: id → the schedule, `<kind> <revision>`, about and event in three lines (schedules.py).
    One that is over stays until recorded.lua takes it away."""
    return f"notify:{{{shard}}}:schedules"


def changes(shard: int) -> str:
    """STREAM of what became of schedules, in order, no group: `id`, `due` (empty: over), `schedule`; or `fired` (ids
    and revisions of such as fire once) and `at` (Unix ms). Written with each change; recorded.lua takes away what is in
    PostgreSQL."""
    return f"notify:{{{shard}}}:changes"


def cancelled(shard: int, schedule_id: str) -> str:
    """STRING, an hour longer than an idempotency record: the schedule was cancelled, and no request that was begun
    before makes it again. Written by replan.lua and uproot.lua."""
    return f"notify:{{{shard}}}:cancelled:{schedule_id}"


def compared(shard: int) -> str:
    """STRING: `compared` once all schedules in PostgreSQL were looked for in this shard, a token while they are. Not
    there: this Redis is new, or lost what it had. Written by schedules.py."""
    return f"notify:{{{shard}}}:compared"


def job(shard: int, job_id: str) -> str:
    """HASH of a bulk job under way, as it stands in this shard: `state` (`running`, `paused` or `cancelled`),
    `revision` of the order that says so, `position` (how many of the shard's recipients are in the lane or past it),
    `end` (how many are to be; empty: all), `rate` (events a second; empty: no limit), `due` (when the next chunk may
    go, Unix microseconds), `holder` and `until` (which bulk worker is at it, Unix ms). Written by open.lua, steer.lua
    and fan.lua; deleted when the job is over."""
    return f"notify:{{{shard}}}:job:{job_id}"


def counters(shard: int) -> str:
    """HASH of totals since the first start: `accepted`, `stored`, `retried`, `dead`, `fired` (schedules, each of which
    is accepted then). Written by accept.lua, settle.lua, fire.lua, step.lua, run.lua, fan.lua and spread.lua."""
    return f"notify:{{{shard}}}:counters"


def once(shard: int, caller: str, digest: str) -> str:
    """STRING, 24 h: what an idempotency key was used for: 32 hex digits of the request's fingerprint, `D` (done)
    or `P` (pending), the answer. Written by accept.lua, reserve.lua and complete.lua."""
    return f"notify:{{{shard}}}:once:{caller}:{digest}"


def inbox(shard: int, recipient: str) -> str:
    """STRING, 24 h after the last look: a recipient's mirrored inbox, `<version> <unread> <seq>`, or, while a
    reader fills it, `lease <token>`. Written by announce.lua and fill.lua; absent for who is not looked at."""
    return f"notify:{{{shard}}}:inbox:{recipient}"


def inboxes(shard: int) -> str:
    """All mirrors of a shard, as a pattern for SCAN; written by nobody."""
    return inbox(shard, "*")


def every_inbox() -> str:
    """All mirrors, as a pattern for SCAN; written by nobody."""
    return "notify:{*}:inbox:*"


def recipient_of_inbox(name: bytes) -> str:
    """Whose mirror has this key."""
    return name.partition(b":inbox:")[2].decode()


def intents(shard: int) -> str:
    """ZSET of mark-reads under way: `<token> <recipient>` by the time (ms) it began. What stays in it belongs to a
    process that died between its commit and its mirror; a worker repairs it. Written by unread.py."""
    return f"notify:{{{shard}}}:intents"


def online(shard: int, recipient: str) -> str:
    """HASH, 90 s: gateway channel → `<expiry ms> <sockets>`: which gateways hold a recipient's sockets. Written by
    join.lua and renew.lua."""
    return f"notify:{{{shard}}}:online:{recipient}"


def waited(key: str) -> str:
    """STRING, empty, in the slot of a key: written before each wait for replicas, so that there is something to wait
    for. Written by replicas.py, where NOTIFY_ACCEPT_REPLICAS asks for it."""
    return f"{key.partition('}')[0]}}}:waited"


def layout() -> str:
    """STRING, no expiry: the number of shards that this Redis is filled with. In one slot with `processes`. Written by
    layout.py, by whoever finds none."""
    return "notify:{stats}:shards"


def everything() -> str:
    """All keys of ours, as a pattern for SCAN; written by nobody."""
    return "notify:{*}:*"


def api_key(digest: str) -> str:
    """STRING, no expiry: an API key's mirror, JSON of access.keys.Grant, by the SHA-256 of the key. In one slot of
    its own, as it belongs to no recipient. Written by access/keys.py."""
    return f"notify:{{keys}}:key:{digest}"


def rate(caller: str, rate: str) -> str:
    """STRING, until the rate is whole again: what a caller has had of it, `<Unix microseconds> <parts of one>` (see
    rate.lua). In a slot of its own, as one caller's events go to all shards. The rate is part of the name, so that
    another one begins whole. Written by rate.lua."""
    return f"notify:{{rate:{caller}}}:{rate}"


def recipient_rate(shard: int, recipient: str, rate: str) -> str:
    """STRING, the same of what a recipient was sent. Written by rate.lua."""
    return f"notify:{{{shard}}}:rate:{rate}:{recipient}"


def processes() -> str:
    """HASH of long-running processes: name → `<beat> <start> <state>` (both Unix ms of Redis' clock; `alive` or
    `stopped`) and, in a second line, JSON of register.Report. In one slot of its own, with `timespan`. Written by
    report.lua; whoever reads takes away what is long gone."""
    return "notify:{stats}:processes"


def latencies() -> str:
    """HASH, no expiry: how many events of the lane `live` took how long since the first start, by bucket
    (register.bucket). Written by report.lua."""
    return "notify:{stats}:latencies"


def drift() -> str:
    """HASH of what comparing unread counts did since the first start: inboxes `checked`, and `found` to differ. Written
    by drift.py."""
    return "notify:{stats}:drift"


def drifting() -> str:
    """STRING, 10 min after the last find: how many inboxes were found to differ since there was none for that long.
    Written by drift.py."""
    return "notify:{stats}:drifting"


def drift_turn() -> str:
    """STRING, until the next sample is due: the process that takes this one. Written by drift.py."""
    return "notify:{stats}:drift-turn"


def timespan(number: int) -> str:
    """HASH, 16 min: five seconds of work, from `5 * number` Unix seconds on: `l<bucket>`, how many events of the lane
    `live` took so long (register.bucket), and `totals`, all shards' counters as somebody found them in it: when (Unix
    ms), accepted, stored, retried, dead, fired. Written by report.lua and note.lua."""
    return f"notify:{{stats}}:span:{number}"
