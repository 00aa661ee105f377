"""Does the unread count drift? A sample of inboxes is compared, all the time: mirror, inbox row, and the rows counted.

The target is none, ever. An update under way is no drift: a mirror may be behind for as long as a batch takes, or until
what a killed process held is done again. So what differs is a suspect, and is judged by a second look half a minute
later: a mirror that still holds the very same is wrong, as is a row that says another number than its rows do.

A wrong mirror is taken away, and filled anew by who looks next. PostgreSQL is only ever read.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any, Final, NamedTuple

import structlog
from django.db import connection, connections

from notifications import process, unread
from notifications.store import EMPTY, InboxState
from notifications.stream import keys, scripts
from notifications.stream.client import Shards

log = structlog.get_logger("notify.drift")

LOOK_SECONDS: Final = 5.0
ROUND_SECONDS: Final = 15
# What a killed process held goes on within 15 s; twice that.
JUDGE_SECONDS: Final = 30.0
# For so long a find is shown: longer than between two scrapes.
SHOWN_SECONDS: Final = 600
# Rows of larger inboxes are not counted: it would take too long.
MOST_ROWS: Final = 10_000
SCAN_AT_ONCE: Final = 1000
SCANS: Final = 5
# As many as a sample is chosen from, about: a hundred pages of the table.
CHOICE: Final = 10_000

# Hand-written: one statement sees all of it at one time, so that a change under way is in all three or in none.
COMPARE: Final = """
    SELECT recipient, version, unread, seq, CASE WHEN seq > %s THEN unread ELSE (
        SELECT count(*) FROM notifications_notification AS n WHERE n.recipient = inbox.recipient AND n.read_at IS NULL
    ) END
    FROM notifications_inbox AS inbox WHERE recipient = ANY(%s)
"""

# Hand-written: a sample by pages of the table, whatever its size, which the ORM does not know.
CHOOSE: Final = """
    SELECT recipient FROM (
        SELECT recipient FROM notifications_inbox TABLESAMPLE SYSTEM (%s) LIMIT %s
    ) AS chosen ORDER BY random() LIMIT %s
"""
ESTIMATE: Final = "SELECT reltuples FROM pg_class WHERE oid = 'notifications_inbox'::regclass"


class Seen(NamedTuple):
    """An inbox as it was found: its mirror (None: it has none), its row, and how many of its rows are unread."""

    recipient: str
    mirror: bytes | None
    inbox: InboxState
    rows: int

    @property
    def is_mirrored_wrong(self) -> bool:
        """Whether the mirror is not what the row says."""
        return self.mirror is not None and self.mirror.decode() != unread.pack(self.inbox)

    @property
    def is_counted_wrong(self) -> bool:
        """Whether the row says another number than there are rows."""
        return self.rows != self.inbox.unread

    def proves(self, before: "Seen") -> bool:
        """Whether this look, some time after that one, makes it sure that something is wrong."""
        stale = self.is_mirrored_wrong and before.is_mirrored_wrong and self.mirror == before.mirror
        return stale or (self.is_counted_wrong and before.is_counted_wrong)


class Totals(NamedTuple):
    """What was compared, and found to differ, since the first start; and what was found lately."""

    checked: int
    found: int
    lately: int


class Drift:
    """A duty of every scheduler (see process.py), each of which takes the samples that are its turn."""

    def __init__(self, shards: Shards, *, per_minute: int, judge_seconds: float = JUDGE_SECONDS) -> None:
        self._shards = shards
        self._size = ceil(per_minute * ROUND_SECONDS / 60)
        self._judge_seconds = judge_seconds
        self._suspects: dict[str, Seen] = {}
        self._judge_at = 0.0
        self._cursor = 0
        self._owed = False
        self._rest = 0.0

    def step(self) -> None:
        """Judge the suspects whose time has come; compare a sample where it is this process' turn."""
        process.pause(self._rest)
        # An outage has waits of its own, and is over, and said to be, as soon as this works again.
        self._rest = 0.0
        if self._suspects and time.monotonic() >= self._judge_at:
            self.judge()
        # A turn that an outage spoils is still this process'.
        self._owed = not self._suspects and (self._owed or self._has_turn())
        if self._owed:
            self.sample()
            self._owed = False
        # Its connection is of use for a moment in a quarter of a minute.
        connections.close_all()
        self._rest = LOOK_SECONDS

    def beat(self) -> None:
        """Nothing is held."""

    def stop(self) -> None:
        """Nothing is held."""

    def sample(self) -> None:
        """Compare some inboxes: half of them such as have a mirror, half of them any."""
        half = ceil(self._size / 2)
        chosen = self._mirrored(half)
        seen = compare(self._shards, {*chosen, *choose(self._size - len(chosen))})
        self._shards.client.hincrby(keys.drift(), "checked", len(seen))
        self._suspects = {one.recipient: one for one in seen if one.is_mirrored_wrong or one.is_counted_wrong}
        self._judge_at = time.monotonic() + self._judge_seconds

    def judge(self) -> None:
        """Look at the suspects again, tell of each that is wrong, and take wrong mirrors away."""
        wrong = [one for one in compare(self._shards, self._suspects) if one.proves(self._suspects[one.recipient])]
        self._suspects = {}
        if wrong:
            mend(self._shards, [one for one in wrong if one.is_mirrored_wrong])
            _tell(self._shards, wrong)

    def _has_turn(self) -> bool:
        mine = self._shards.client.set(keys.drift_turn(), process.consumer_name(), nx=True, ex=ROUND_SECONDS)
        return bool(mine)

    def _mirrored(self, count: int) -> list[str]:
        """Recipients with a mirror, from where the last sample ended; fewer where few of the keys are mirrors."""
        found: list[str] = []
        for _ in range(SCANS):
            answer: Any = self._shards.client.scan(self._cursor, match=keys.every_inbox(), count=SCAN_AT_ONCE)
            self._cursor, names = answer
            found += map(keys.recipient_of_inbox, names)
            if len(found) >= count or self._cursor == 0:
                break
        return found[:count]


def compare(shards: Shards, recipients: Iterable[str]) -> list[Seen]:
    """Each inbox as it is. Mirrors first: what is committed in between makes them older, never wrong."""
    chosen = sorted(recipients)
    mirrors = _mirrors(shards, chosen)
    rows = _rows(chosen)
    return [Seen(who, mirrors[who], *rows.get(who, (EMPTY, 0))) for who in chosen]


def choose(count: int) -> list[str]:
    """Some inboxes, by chance."""
    with connection.cursor() as cursor:
        cursor.execute(ESTIMATE)
        rows = max(1.0, cursor.fetchone()[0])
        cursor.execute(CHOOSE, [min(100.0, 100 * CHOICE / rows), CHOICE, count])
        return [recipient for (recipient,) in cursor.fetchall()]


def mend(shards: Shards, wrong: Sequence[Seen]) -> None:
    """Take mirrors away, as long as they are what was found."""
    for shard, members in shards.group(wrong, lambda one: one.recipient).items():
        names = [keys.inbox(shard, one.recipient) for one in members]
        scripts.run(shards.client, "drop", names, [one.mirror or b"" for one in members])


def totals(shards: Shards) -> Totals:
    """What all schedulers found. Raises RedisError."""
    pipe = shards.client.pipeline(transaction=False)
    pipe.hmget(keys.drift(), ["checked", "found"])
    pipe.get(keys.drifting())
    (checked, found), lately = pipe.execute()
    return Totals(int(checked or 0), int(found or 0), int(lately or 0))


def _tell(shards: Shards, wrong: Sequence[Seen]) -> None:
    for one in wrong:
        log.error(
            "unread.drift",
            recipient=one.recipient,
            mirror=one.mirror.decode() if one.mirror else None,
            inbox=unread.pack(one.inbox),
            rows=one.rows,
            mended=not one.is_counted_wrong,
        )
    pipe = shards.client.pipeline(transaction=False)
    pipe.hincrby(keys.drift(), "found", len(wrong))
    pipe.incrby(keys.drifting(), len(wrong))
    pipe.expire(keys.drifting(), SHOWN_SECONDS)
    pipe.execute()


def _mirrors(shards: Shards, recipients: Sequence[str]) -> dict[str, bytes | None]:
    pipe = shards.client.pipeline(transaction=False)
    for recipient in recipients:
        pipe.get(keys.inbox(shards.of(recipient), recipient))
    found: Sequence[Any] = pipe.execute()
    # One that is being filled says nothing yet.
    return {
        who: None if not mirror or mirror.startswith(b"lease") else mirror
        for who, mirror in zip(recipients, found, strict=True)
    }


def _rows(recipients: Sequence[str]) -> Mapping[str, tuple[InboxState, int]]:
    with connection.cursor() as cursor:
        cursor.execute(COMPARE, [MOST_ROWS, list(recipients)])
        return {recipient: (InboxState(*state), rows) for recipient, *state, rows in cursor.fetchall()}
