"""Schedules in Redis: what each script does, and what it leaves alone."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from notifications import events, wiring
from notifications.events import Event
from notifications.exceptions import Unavailable
from notifications.stream import keys, states
from notifications.stream.client import Shards
from notifications.stream.clock import ServerClock
from notifications.stream.schedules import FIRE_AT_ONCE, Due, Kept, Kind, Schedules, Step

RECIPIENTS = ("alice", "bob", "carol", "dave", "erin", "frank")
KINDS: tuple[Kind, ...] = ("once", "recurring")
DAY_MS = 86_400_000


@pytest.fixture
def schedules() -> Schedules:
    return wiring.patient_schedules()


def kept(due_ms: int | None, recipient: str = "alice", kind: Kind = "once", revision: int = 1) -> Kept:
    event = Event(id=events.new_id(recipient), recipient=recipient, type="t", title="t", source="schedule")
    return Kept(event.id, kind, revision, b'{"by":"tests"}', events.encode(event), due_ms)


def stepped(seen: Kept, due_ms: int | None, event_id: str = "") -> Step:
    """A schedule moved to another time; with an event's id, that event is fired."""
    event = Event(id=event_id, recipient="alice", type="t", title="t") if event_id else None
    following = seen._replace(revision=seen.revision + 1, due_ms=due_ms)
    return Step(seen, following, event_id, events.encode(event) if event else b"")


def lane(shards: Shards) -> list[str]:
    """The ids of what waits for the workers, shard by shard."""
    client: Any = shards.client
    return [
        events.decode(fields[b"event"]).id
        for shard in shards.each()
        for _, fields in client.xrange(keys.lane(shard, "live"))
    ]


def log_of(schedules: Schedules) -> list[tuple[str, int | None]]:
    """Each logged change: the schedule's id, and its revision (None: it fired, and fires once)."""
    found: list[tuple[str, int | None]] = []
    for shard in schedules.shards.each():
        for change in schedules.changes(shard):
            found += (
                [(change.kept.id, change.kept.revision)] if change.kept else [(one, None) for one, _ in change.fired]
            )
    return found


def everything(shards: Shards) -> dict[bytes, object]:
    """What Redis holds, to be compared."""
    client: Any = shards.client
    return {name: client.dump(name) for name in client.scan_iter("notify:*")}


def assert_due_in(found: Due, due_ms: int) -> None:
    """A round over several shards takes a moment; the time that it tells is that of the last."""
    assert found.next_in_ms is not None
    assert 0 <= found.next_in_ms - (due_ms - found.now_ms) < 1000


def forget_all(schedules: Schedules, over: Iterable[str] = ()) -> None:
    for shard in schedules.shards.each():
        schedules.recorded(shard, schedules.changes(shard), over)


def test_a_schedule_is_kept_to_the_byte_and_logged(schedules: Schedules) -> None:
    made = [kept(schedules.now_ms() + DAY_MS, recipient) for recipient in RECIPIENTS]
    for one in made:
        schedules.plan(one)
    assert [schedules.look(one.id) for one in made] == made
    assert schedules.look_many(one.id for one in made) == {one.id: one for one in made}
    logged = [change.kept for shard in schedules.shards.each() for change in schedules.changes(shard)]
    assert sorted(one.id for one in logged if one) == sorted(one.id for one in made)
    assert all(one in made for one in logged)
    assert schedules.changed_shards() == sorted({schedules.shards.of(recipient) for recipient in RECIPIENTS})


@pytest.mark.parametrize("due_ms", [1, 1_700_000_000_123, 4_102_444_800_001, 221_845_391_999_999])
def test_a_due_time_is_exact_however_far_it_is(schedules: Schedules, due_ms: int) -> None:
    one = kept(due_ms, kind="recurring")
    schedules.plan(one)
    assert schedules.look(one.id) == one
    changes = schedules.changes(schedules.shards.of("alice"))
    assert [change.kept for change in changes] == [one]
    assert schedules.run(stepped(one, due_ms, events.new_id("alice"))) == "accepted"
    assert schedules.changes(schedules.shards.of("alice"))[1].kept == one._replace(revision=2)
    due = schedules.fire()
    if due_ms < due.now_ms:
        assert [found.due_ms for found in due.again] == [due_ms]
    else:
        assert due.again == []
        assert_due_in(due, due_ms)


def test_what_is_planned_again_stays_as_it_is(schedules: Schedules) -> None:
    one = kept(schedules.now_ms() + DAY_MS)
    schedules.plan(one)
    before = everything(schedules.shards)
    schedules.plan(one._replace(revision=7, due_ms=1))
    assert everything(schedules.shards) == before


def test_a_change_is_made_from_the_revision_that_was_seen_and_no_other(schedules: Schedules) -> None:
    one = kept(schedules.now_ms() + DAY_MS)
    schedules.plan(one)
    second = one._replace(revision=2, due_ms=schedules.now_ms() + 2 * DAY_MS, about=b"{}")
    assert schedules.change(one, second) == "changed"
    before = everything(schedules.shards)
    assert schedules.change(one, second._replace(about=b"late")) == "stale"
    assert schedules.change(one._replace(revision=3), second._replace(about=b"later")) == "stale"
    assert everything(schedules.shards) == before
    assert schedules.look(one.id) == second
    assert log_of(schedules) == [(one.id, 1), (one.id, 2)]


def test_revisions_are_compared_whole(schedules: Schedules) -> None:
    one = kept(schedules.now_ms() + DAY_MS, revision=12)
    schedules.plan(one)
    for revision in (1, 2, 120, 112):
        assert schedules.change(one._replace(revision=revision), one._replace(about=b"{}")) == "stale"
    assert schedules.change(one, one._replace(revision=13)) == "changed"


@pytest.mark.parametrize("how", ["cancelled", "fired", "run"])
def test_what_waits_no_more_is_over_for_everybody(schedules: Schedules, how: str) -> None:
    one = kept(schedules.now_ms() - 1000)
    schedules.plan(one)
    if how == "cancelled":
        assert schedules.change(one, one._replace(kind="cancelled", revision=2, due_ms=None)) == "changed"
    elif how == "fired":
        assert schedules.fire().fired == 1
    else:
        assert schedules.run(stepped(one, None, one.id)) == "accepted"
    before = everything(schedules.shards)
    found = schedules.look(one.id)
    assert found is not None
    assert found.due_ms is None
    for revision in (1, 2):
        # Another's change: what is there already would be one's own, made by a call whose answer was lost.
        seen = one._replace(revision=revision, about=b"{}")
        assert schedules.change(seen, seen._replace(revision=9)) == "over"
        assert schedules.run(stepped(seen, None, one.id)) == "over"
        assert schedules.step([stepped(seen, 1, events.new_id("alice"))]) == 0
    assert schedules.fire().fired == 0
    schedules.plan(one)
    assert everything(schedules.shards) == before


def test_what_is_not_there_is_unknown(schedules: Schedules) -> None:
    one = kept(1)
    assert schedules.look(one.id) is None
    assert schedules.look_many([]) == {}
    assert schedules.change(one, one) == "unknown"
    assert schedules.run(stepped(one, None, one.id)) == "unknown"
    assert schedules.step([stepped(one, 1, one.id)]) == 0
    assert schedules.step([]) == 0
    assert everything(schedules.shards) == {}


def test_nothing_is_done_later_than_its_caller_waits(schedules: Schedules) -> None:
    one = kept(schedules.now_ms() + DAY_MS)
    schedules.plan(one)
    before = everything(schedules.shards)
    late = Schedules(schedules.shards, ServerClock(schedules.shards.client), patience_ms=-1000)
    acts: list[Callable[[], object]] = [
        lambda: late.plan(kept(1)),
        lambda: late.change(one, one._replace(revision=2)),
        lambda: late.run(stepped(one, None, one.id)),
    ]
    for act in acts:
        with pytest.raises(Unavailable):
            act()
    with pytest.raises(TimeoutError):
        late.restore(schedules.shards.of("alice"), [one._replace(revision=9)], late.now_ms() - 1000)
    assert everything(schedules.shards) == before


def test_what_fires_once_goes_into_the_lane_and_what_comes_again_is_given_back(schedules: Schedules) -> None:
    now = schedules.now_ms()
    due = [kept(now - 5, recipient) for recipient in RECIPIENTS]
    again = [kept(now - 7, recipient, "recurring") for recipient in RECIPIENTS]
    later = [kept(now + DAY_MS, recipient, kind) for recipient in RECIPIENTS for kind in KINDS]
    for one in (*due, *again, *later):
        schedules.plan(one)
    found = schedules.fire()
    assert found.fired == len(due)
    assert sorted(found.again) == sorted(again)
    assert found.next_in_ms == 0
    assert now <= found.now_ms <= schedules.now_ms() + 1000
    assert sorted(lane(schedules.shards)) == sorted(one.id for one in due)
    assert {states.in_flight(schedules.shards, one.id).status for one in due} == {"queued"}  # type: ignore[union-attr]
    second = schedules.fire()
    assert (second.fired, sorted(second.again)) == (0, sorted(again))
    assert sorted(one for one, revision in log_of(schedules) if revision is None) == sorted(one.id for one in due)


def test_the_next_one_is_told_by_the_servers_clock(schedules: Schedules) -> None:
    assert schedules.fire().next_in_ms is None
    due_ms = schedules.now_ms() + 30_000
    schedules.plan(kept(due_ms + 30_000, "alice"))
    schedules.plan(kept(due_ms, "bob"))
    found = schedules.fire()
    assert (found.fired, found.again) == (0, [])
    assert_due_in(found, due_ms)


def test_at_most_five_hundred_fire_at_once_and_the_longest_due_are_first(schedules: Schedules) -> None:
    now = schedules.now_ms()
    planned = [kept(now - number) for number in range(1, 2 * FIRE_AT_ONCE + 101)]
    for number in range(len(planned)):
        schedules.plan(planned[7 * number % len(planned)])
    counts = []
    while found := schedules.fire().fired:
        counts.append(found)
    assert counts == [FIRE_AT_ONCE, FIRE_AT_ONCE, 100]
    assert lane(schedules.shards) == [one.id for one in reversed(planned)]


def test_what_is_in_flight_already_does_not_fire_again(schedules: Schedules, make_writer: Callable[..., Any]) -> None:
    """A schedule came back from a record that was behind: its event is on its way."""
    one, again = kept(1), kept(1, kind="recurring")
    occurrence = Event(id=events.new_id("alice"), recipient="alice", type="t", title="t")
    make_writer().add([events.decode(one.event), occurrence])
    for each in (one, again):
        schedules.plan(each)
    assert schedules.fire().fired == 1
    assert schedules.step([stepped(again, 2, occurrence.id)]) == 1
    assert schedules.look(again.id) == again._replace(revision=2, due_ms=2)
    assert schedules.run(stepped(again._replace(revision=2), 2, occurrence.id)) == "accepted"
    assert sorted(lane(schedules.shards)) == sorted([one.id, occurrence.id])
    client: Any = schedules.shards.client
    assert client.hget(keys.counters(schedules.shards.of("alice")), "accepted") == b"2"


def test_a_place_in_time_without_a_schedule_is_taken_away_and_harms_no_other(schedules: Schedules) -> None:
    one, broken = kept(2), kept(3)
    client: Any = schedules.shards.client
    shard = schedules.shards.of("alice")
    client.zadd(keys.scheduled(shard), {"nobody": 1})
    schedules.plan(one)
    schedules.plan(broken)
    client.hset(keys.schedules(shard), broken.id, b"nonsense")
    assert schedules.fire().fired == 1
    assert lane(schedules.shards) == [one.id]
    assert client.zrange(keys.scheduled(shard), 0, -1) == [broken.id.encode()]
    assert client.zscore(keys.scheduled(shard), broken.id) > schedules.now_ms()


@pytest.mark.parametrize(
    "other",
    [
        lambda one: one._replace(revision=2),
        lambda one: one._replace(due_ms=one.due_ms + 1),
        lambda one: one._replace(due_ms=one.due_ms - 1),
    ],
    ids=["revision", "later", "earlier"],
)
def test_a_step_is_made_from_what_was_seen_or_not_at_all(schedules: Schedules, other: Callable[[Kept], Kept]) -> None:
    one = kept(5000, kind="recurring")
    schedules.plan(one)
    before = everything(schedules.shards)
    assert schedules.step([stepped(other(one), 9000, events.new_id("alice"))]) == 0
    assert everything(schedules.shards) == before
    assert schedules.step([stepped(one, 9000, events.new_id("alice"))]) == 1


def test_steps_of_many_are_each_their_own(schedules: Schedules) -> None:
    made = [kept(1, recipient, "recurring") for recipient in RECIPIENTS]
    for one in made:
        schedules.plan(one)
    gone, ends, puts_off, *others = made
    schedules.change(gone, gone._replace(kind="cancelled", revision=2, due_ms=None))
    steps = [
        stepped(gone, 5, events.new_id(RECIPIENTS[0])),
        stepped(ends, None, events.new_id(RECIPIENTS[1])),
        stepped(puts_off, 7),
        *(stepped(one, 9, events.new_id("alice")) for one in others),
    ]
    assert schedules.step(steps) == 5
    assert sorted(lane(schedules.shards)) == sorted(step.event_id for step in (steps[1], *steps[3:]))
    assert [found.due_ms for one in made if (found := schedules.look(one.id))] == [None, None, 7, 9, 9, 9]
    assert schedules.step(steps) == 0
    assert [(step.following.id, 2) in log_of(schedules) for step in steps] == [True] * 6


def test_what_is_recorded_is_forgotten_but_what_waits_is_not(schedules: Schedules) -> None:
    fired, waiting = kept(1), kept(schedules.now_ms() + DAY_MS)
    for one in (fired, waiting):
        schedules.plan(one)
    schedules.fire()
    forget_all(schedules, [fired.id, waiting.id])
    assert (log_of(schedules), schedules.changed_shards()) == ([], [])
    assert (schedules.look(fired.id), schedules.look(waiting.id)) == (None, waiting)
    forget_all(schedules, [fired.id])


def test_only_the_oldest_changes_are_read_and_only_those_are_forgotten(schedules: Schedules) -> None:
    made = [kept(schedules.now_ms() + DAY_MS) for _ in range(5)]
    for one in made:
        schedules.plan(one)
    shard = schedules.shards.of("alice")
    oldest = schedules.changes(shard, 2)
    assert [change.kept for change in oldest] == made[:2]
    schedules.recorded(shard, oldest, [])
    assert [change.kept for change in schedules.changes(shard)] == made[2:]


def test_any_number_of_changes_is_forgotten_at_once(schedules: Schedules) -> None:
    client: Any = schedules.shards.client
    shard = schedules.shards.of("alice")
    pipe = client.pipeline(transaction=False)
    for number in range(9000):
        pipe.xadd(keys.changes(shard), {"fired": str(number), "at": 1})
    pipe.execute()
    schedules.recorded(shard, schedules.changes(shard), [])
    assert schedules.changed_shards() == []


def test_a_firing_and_a_cancellation_that_race_leave_one_of_two_outcomes(schedules: Schedules) -> None:
    made = [kept(schedules.now_ms() - 1000, recipient) for recipient in RECIPIENTS for _ in range(50)]
    for one in made:
        schedules.plan(one)

    def cancel(one: Kept) -> str:
        return schedules.change(one, one._replace(kind="cancelled", revision=2, due_ms=None))

    with ThreadPoolExecutor(4) as pool:
        firing = [pool.submit(schedules.fire) for _ in range(2)]
        outcomes = dict(zip((one.id for one in made), pool.map(cancel, made), strict=True))
        fired = sum(future.result().fired for future in firing)
    queued = lane(schedules.shards)
    assert sorted(queued) == sorted(one for one, outcome in outcomes.items() if outcome == "over")
    assert fired == len(queued)
    assert set(outcomes.values()) <= {"over", "changed"}


def test_any_number_of_schedulers_at_once_fire_each_once(schedules: Schedules) -> None:
    now = schedules.now_ms()
    made = [kept(now - number, recipient) for recipient in RECIPIENTS for number in range(100)]
    again = [kept(now - number, recipient, "recurring") for recipient in RECIPIENTS for number in range(20)]
    for one in (*made, *again):
        schedules.plan(one)

    def rounds(_: int) -> None:
        for _ in range(3):
            due = schedules.fire()
            schedules.step(stepped(one, now + DAY_MS, events.derived_id("alice", 1, one.id)) for one in due.again)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(rounds, range(4)))
    occurrences = [events.derived_id("alice", 1, one.id) for one in again]
    assert sorted(lane(schedules.shards)) == sorted([*(one.id for one in made), *occurrences])
    assert {found.revision for found in schedules.look_many(one.id for one in again).values()} == {2}
