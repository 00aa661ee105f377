"""What a process tells of itself reaches the register, or is dropped; nothing ever waits for it."""

import threading
from collections.abc import Callable, Iterator

import psutil
import pytest
import structlog

from notifications import counting, reporting, worker
from notifications.events import Event
from notifications.live.announce import Announcer
from notifications.live.outbox import Outbox
from notifications.reporting import Reporter, Sockets
from notifications.stream import keys, register
from notifications.stream.client import Shards
from notifications.stream.group import Entry
from notifications.stream.reader import Reader
from notifications.stream.register import Process
from notifications.stream.writer import Writer
from tests.stack import wait_until

Make = Callable[..., Event]
Start = Callable[..., Reporter]

LIVE = keys.lane(0, "live").encode()
BULK = keys.lane(0, "bulk").encode()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start to tell; ends with the test."""
    started: list[Reporter] = []
    # A process tells once in its life. This one has run other tests' workers, whose events nobody told of yet.
    monkeypatch.setattr(reporting, "_tally", reporting._Tally())

    def begin(name: str = "w", **details: object) -> Reporter:
        reporter = Reporter("worker", name, **details)  # type: ignore[arg-type]
        started.append(reporter)
        reporter.start()
        return reporter

    yield begin
    for reporter in started:
        reporter.stop()


def known(shards: Shards, name: str = "w") -> Process | None:
    return next((process for process in register.processes(shards.client) if process.name == name), None)


def test_who_starts_to_tell_is_there_at_once_and_says_goodbye(
    shards: Shards, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "REPORT_SECONDS", 3600)
    reporter = start()
    wait_until(lambda: known(shards))
    reporter.stop()
    process = known(shards)
    assert process
    assert process.state == "stopped"
    assert process.rss_bytes > 1 << 20


def test_who_ends_by_a_bug_says_no_goodbye(shards: Shards) -> None:
    def work() -> None:
        with Reporter("worker", "w"):
            wait_until(lambda: known(shards))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    process = known(shards)
    assert process
    assert process.state == "alive"


def test_a_report_that_comes_after_the_goodbye_is_not_told(shards: Shards, start: Start) -> None:
    reporter = start()
    wait_until(lambda: known(shards))
    reporter.stop()
    # As the thread does that was on its way when the process was told to end.
    reporter._tell()
    process = known(shards)
    assert process
    assert process.state == "stopped"


def test_what_was_handled_is_told_in_all_and_as_a_rate(
    shards: Shards, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "REPORT_SECONDS", 0.05)
    start()
    wait_until(lambda: known(shards))
    before = known(shards)
    assert before
    rates = []

    def told() -> bool:
        process = known(shards)
        assert process
        rates.append(process.rate)
        return process.handled == before.handled + 12

    reporting.handled(12)
    wait_until(told)
    assert max(rates) > 0
    wait_until(lambda: (process := known(shards)) and process.rate == 0.0)


def test_what_several_threads_handled_is_added_up() -> None:
    before, _ = reporting._tally.take()

    def handle() -> None:
        for _ in range(2000):
            reporting.handled(1)

    threads = [threading.Thread(target=handle) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reporting._tally.take()[0] == before + 16_000


def test_a_gateway_tells_of_its_sockets(shards: Shards, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "REPORT_SECONDS", 0.05)
    frames = iter(range(0, 10_000, 7))
    start(sockets=lambda: Sockets(3, 2, next(frames)))
    wait_until(lambda: (process := known(shards)) and process.frame_rate)
    process = known(shards)
    assert process
    assert (process.sockets, process.recipients) == (3, 2)


def test_who_is_stuck_is_silent(shards: Shards, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "REPORT_SECONDS", 0.01)
    looked = []

    def is_stuck() -> bool:
        looked.append(1)
        return len(looked) < 20

    start(is_stuck=is_stuck)
    wait_until(lambda: len(looked) >= 10)
    assert known(shards) is None or len(looked) >= 20
    wait_until(lambda: known(shards))


def test_a_fault_in_telling_is_said_once_and_does_not_end_it(
    shards: Shards, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "REPORT_SECONDS", 0.01)
    faults = iter([psutil.AccessDenied(1), RuntimeError("changed"), ValueError("no number"), KeyError("a")])

    def held() -> Sockets:
        if fault := next(faults, None):
            raise fault
        return Sockets(3, 2, 1)

    with structlog.testing.capture_logs() as lines:
        start(sockets=held)
        wait_until(lambda: known(shards))
        wait_until(lambda: len(lines) > 1)
    assert [line["event"] for line in lines] == ["reporting.dropped", "reporting.restored"]
    assert "AccessDenied" in lines[0]["error"]


def test_a_fault_in_telling_keeps_nobody_from_stopping(start: Start) -> None:
    def held() -> Sockets:
        raise RuntimeError("changed")

    start(sockets=held).stop()


def entry(stream: bytes, entry_ms: int, **fields: bytes) -> Entry:
    return Entry(stream, b"%d-0" % entry_ms, {name.encode(): value for name, value in fields.items()})


def test_an_event_is_as_old_as_its_entry(make_event: Make) -> None:
    batch = [(entry(LIVE, at), make_event()) for at in (5000, 5000, 5001)]
    assert counting.beginnings(batch) == {5000: 2, 5001: 1}


def test_a_scheduled_event_began_when_it_fired(make_event: Make) -> None:
    assert counting.beginnings([(entry(LIVE, 5000), make_event(source="schedule"))]) == {5000: 1}


def test_an_event_that_failed_before_is_as_old_as_its_id(make_event: Make) -> None:
    event = make_event(id="00000000-1388-7000-8000-000000000000", attempts=2)
    assert counting.beginnings([(entry(LIVE, 90_000), event)]) == {5000: 1}


def test_what_says_nothing_of_waiting_is_not_counted(make_event: Make) -> None:
    batch = [
        (entry(BULK, 5000), make_event(source="bulk")),
        (entry(BULK, 5000, to=b"alice"), make_event(source="bulk")),
        (entry(LIVE, 5000), make_event(attempts=1, source="schedule")),
        (entry(LIVE, 5000), make_event(attempts=1, life=1)),
    ]
    assert counting.beginnings(batch) == {}


@pytest.mark.parametrize("event_id", ["", "nonsense", "{00000000-1388-7000-8000-000000000000}"])
def test_an_id_that_is_none_of_ours_tells_no_time(make_event: Make, event_id: str) -> None:
    batch = [(entry(LIVE, 90_000), make_event(id=event_id, attempts=1)), (entry(LIVE, 5000), make_event())]
    assert counting.beginnings(batch) == {5000: 1}


@pytest.mark.django_db
def test_a_worker_tells_how_long_its_events_took(
    shards: Shards, start: Start, make_writer: Callable[..., Writer], make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "REPORT_SECONDS", 0.05)
    start()
    # What was done before Redis' time is known is not counted, and Redis knows of us a moment before we know its time.
    wait_until(lambda: reporting._tally.now_ms() is not None)
    make_writer().add([make_event(f"r{number}") for number in range(20)])
    reader = Reader(shards, "worker-1", batch_size=1000, claim_idle_ms=10_000)
    duty = worker.Worker(shards, reader, Announcer(shards, Outbox()))
    while sum(shards.client.xlen(keys.lane(shard, "live")) for shard in shards.each()):
        duty.step()
    wait_until(lambda: sum(register.latencies_ever(shards.client).values()) >= 20, message="some were not told")
    assert sum(register.latencies_ever(shards.client).values()) == 20
    slowest = register.percentile(register.latencies(shards.client), 1.0)
    assert slowest
    assert slowest < 5_000
