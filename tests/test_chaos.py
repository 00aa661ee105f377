"""`make chaos`: a minute of it, and that its verdict can be a bad one."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec import structs

from notify_project.local.children import PROJECT
from tests.chaos import ledger
from tests.chaos.breaking import BREAKING, SLOTS, Action
from tests.chaos.facts import Facts, Inbox, Job, Letter, Row
from tests.chaos.faults import Done
from tests.chaos.findings import Wrong
from tests.chaos.layout import RETRY_DELAYS, Layout
from tests.chaos.ledger import LATER, Ledger, Line, What
from tests.chaos.plan import Kind, Plan
from tests.chaos.report import counts_of, delay_of, silence_of
from tests.chaos.verdict import judge, judge_process
from tests.stack import clean_environment

pytestmark = pytest.mark.one_shard_is_enough

TARGETS = Layout(shards=1).targets
# A short look; `make chaos` takes the long one, and any seed.
SEED = 13
BEGUN = 1_700_000_000.0


@pytest.mark.timeout(300)
def test_a_third_of_a_minute_of_chaos_loses_doubles_and_miscounts_nothing() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--minutes", "0.3", "--seed", str(SEED), "--shards", "4"]
    done = subprocess.run(command, cwd=PROJECT, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def line(number: int, kind: Kind = Kind.PLAIN, what: What = What.ACCEPTED, **fields: str) -> Line:
    """A line of the ledger about event `number`, whose id is `id-<number>`."""
    event_id = f"id-{number}" if what is not What.UNKNOWN else ""
    return Line(what=what, when=BEGUN, number=number, kind=kind, **{"recipient": "alice", "id": event_id, **fields})


def row(number: int, seq: int = 1, attempts: int = 1, **fields: str) -> Row:
    """The unread row of event `number`."""
    stored = datetime.fromtimestamp(BEGUN + number, UTC)
    values = Row(f"id-{number}", number, "alice", seq, attempts, unread=True, stored_at=stored)
    return replace(values, **fields)  # type: ignore[arg-type]


def letter(number: int, reason: str, attempts: int = 1, **fields: str) -> Letter:
    """The open dead letter of event `number`."""
    values = Letter(f"id-{number}", "dead", number, "alice", reason, "an error", attempts, 0)
    return replace(values, **fields)  # type: ignore[arg-type]


def wrongs(lines: Sequence[Line], rows: Sequence[Row] = (), letters: Sequence[Letter] = ()) -> list[Wrong]:
    """What a verdict says of events, by kind; counts and sockets apart."""
    return [finding.wrong for finding in judge(lines, Facts(rows=list(rows), letters=list(letters)))]


def test_what_became_what_it_had_to_is_no_finding() -> None:
    last = len(RETRY_DELAYS) + 1
    lines = [
        line(1),
        line(2, Kind.SLOW),
        line(3, Kind.FAILS_ONCE),
        line(4, Kind.FAILS_TWICE),
        line(5, Kind.FAILS_ALWAYS),
        line(6, Kind.INVALID),
        line(7, Kind.CRASH),
        line(8, what=What.UNKNOWN),
        line(9, what=What.UNKNOWN),
    ]
    rows = [row(1, 1), row(2, 2), row(3, 3, 2), row(4, 4, 3), row(8, 5)]
    letters = [letter(5, "retries_exhausted", last), letter(6, "invalid"), letter(7, "crash", 3)]
    assert wrongs(lines, rows, letters) == []


def test_an_event_that_is_nowhere_is_lost() -> None:
    assert wrongs([line(1)]) == [Wrong.LOST]
    assert wrongs([line(1, what=What.UNKNOWN)]) == []


def test_an_event_under_another_id_than_was_promised_is_lost() -> None:
    assert Wrong.LOST in wrongs([line(1)], [row(1, id="another")])


def test_an_event_in_another_inbox_is_lost() -> None:
    assert wrongs([line(1)], [row(1, recipient="bob")]) == [Wrong.LOST]


def test_two_rows_of_one_number_are_doubled_promised_or_not() -> None:
    assert wrongs([line(1)], [row(1), row(1, seq=2, id="another")]) == [Wrong.DOUBLED]
    assert wrongs([line(1, what=What.UNKNOWN)], [row(1), row(1, seq=2, id="another")]) == [Wrong.DOUBLED]


def test_a_key_that_was_answered_with_two_ids_is_doubled() -> None:
    lines = [line(1, key="k"), line(1, key="k", id="another")]
    assert Wrong.DOUBLED in wrongs(lines, [row(1)])


def test_a_row_beside_an_open_letter_is_doubled() -> None:
    last = len(RETRY_DELAYS) + 1
    found = wrongs([line(1, Kind.FAILS_ALWAYS)], [row(1)], [letter(1, "retries_exhausted", last)])
    assert Wrong.DOUBLED in found


def test_two_letters_are_doubled() -> None:
    letters = [letter(1, "invalid"), letter(1, "invalid", id="another")]
    assert wrongs([line(1, Kind.INVALID)], [], letters) == [Wrong.DOUBLED]


def test_a_row_that_nobody_sent_is_doubled() -> None:
    assert wrongs([], [row(1)]) == [Wrong.DOUBLED]


def test_an_innocent_that_is_dead_is_condemned() -> None:
    assert wrongs([line(1)], [], [letter(1, "crash", 3)]) == [Wrong.CONDEMNED]
    assert wrongs([line(1, Kind.INVALID)], [], [letter(1, "crash", 3)]) == [Wrong.CONDEMNED]


def test_an_attempt_too_many_or_too_few_is_found() -> None:
    assert wrongs([line(1)], [row(1, attempts=2)]) == [Wrong.ATTEMPTS]
    assert wrongs([line(1, Kind.FAILS_TWICE)], [row(1, attempts=2)]) == [Wrong.ATTEMPTS]
    assert wrongs([line(1, Kind.FAILS_ALWAYS)], [], [letter(1, "retries_exhausted", 2)]) == [Wrong.ATTEMPTS]


def test_an_event_that_can_only_fail_and_is_stored_is_found() -> None:
    assert wrongs([line(1, Kind.INVALID)], [row(1)]) == [Wrong.ATTEMPTS]


def test_a_corrected_letter_has_to_become_a_row() -> None:
    ordered = line(1, Kind.INVALID, What.MAY_BE_CORRECTED)
    sent, closed = line(1, Kind.INVALID), letter(1, "invalid", status="replayed")
    assert wrongs([sent, ordered, line(1, Kind.INVALID, What.CORRECTED)], [row(1)], [closed]) == []
    assert wrongs([sent, ordered, line(1, Kind.INVALID, What.CORRECTED)], [], [letter(1, "invalid")]) == [Wrong.LOST]
    assert wrongs([sent, ordered], [], [letter(1, "invalid")]) == []
    assert wrongs([sent, ordered], [], [closed]) == [Wrong.LOST]


BULK_RECIPIENTS = "alice bob carol"


def said(what: What = What.BULK, kind: Kind = Kind.PLAIN, detail: str = "") -> Line:
    """A line of the ledger about the bulk job `job-1`."""
    return Line(what=what, when=BEGUN, number=1, id="job-1", recipient=BULK_RECIPIENTS, kind=kind, detail=detail)


def bulk_rows(*recipients: str, attempts: int = 1) -> list[Row]:
    """The rows that came of it."""
    return [
        replace(row(1, attempts=attempts), recipient=recipient, number=None, job="job-1") for recipient in recipients
    ]


DONE = Job("job-1", "Bulk 1", "done", 3, 3, 0)
CUT = Job("job-1", "Bulk 1", "cancelled", 2, 2, 0)
CANCELLED = [said(), said(What.BULK_MAY_BE_CANCELLED), said(What.BULK_CANCELLED, detail="2")]
ALL, SOME = ("alice", "bob", "carol"), ("alice", "bob")


@pytest.mark.parametrize(
    ("lines", "job", "recipients", "wrong"),
    [
        ([said()], DONE, ALL, set()),
        ([said(), said()], DONE, ALL, set()),
        (CANCELLED, CUT, SOME, set()),
        (CANCELLED[:2], CUT, SOME, set()),
        (CANCELLED[:2], DONE, ALL, set()),
        ([], DONE, ALL, set()),
        ([said()], None, (), {Wrong.LOST}),
        ([said()], DONE, SOME, {Wrong.LOST, Wrong.DRIFTED}),
        ([said()], replace(DONE, stored=2), SOME, {Wrong.LOST}),
        ([said()], DONE, (*SOME, "bob"), {Wrong.LOST, Wrong.DOUBLED}),
        ([said()], replace(DONE, stored=4), (*ALL, "dave"), {Wrong.DOUBLED}),
        ([said()], replace(DONE, failed=1), ALL, {Wrong.DRIFTED}),
        ([said()], replace(DONE, status="running"), ALL, {Wrong.LEFT_OVER}),
        ([said()], CUT, SOME, {Wrong.LOST}),
        (CANCELLED, replace(CUT, stored=3), ALL, {Wrong.DRIFTED}),
        (CANCELLED, replace(CUT, stored=1), ("alice",), {Wrong.DRIFTED}),
        (CANCELLED[:2], replace(CUT, stored=1), ("alice",), {Wrong.DRIFTED}),
        ([], None, ALL, {Wrong.DOUBLED}),
    ],
)
def test_a_bulk_job_is_exact_or_a_finding(
    lines: list[Line], job: Job | None, recipients: tuple[str, ...], wrong: set[Wrong]
) -> None:
    facts = Facts(rows=bulk_rows(*recipients), jobs=[job] if job else [])
    assert {finding.wrong for finding in judge(lines, facts)} == wrong


def test_a_bulk_job_that_was_made_twice_is_doubled() -> None:
    facts = Facts(rows=bulk_rows(*ALL), jobs=[DONE, Job("job-2", "Bulk 1", "done", 0, 0, 0)])
    assert [finding.wrong for finding in judge([said()], facts)] == [Wrong.DOUBLED]


def test_attempts_in_a_bulk_job_are_counted_too() -> None:
    facts = Facts(rows=bulk_rows(*ALL), jobs=[DONE])
    assert [finding.wrong for finding in judge([said(kind=Kind.FAILS_ONCE)], facts)] == [Wrong.ATTEMPTS]
    facts = Facts(rows=bulk_rows(*ALL, attempts=2), jobs=[DONE])
    assert judge([said(kind=Kind.FAILS_ONCE)], facts) == []


INBOX = Inbox(seq=2, unread=2, version=2, mirror="2 2 2", by_api=2, by_socket=2)


@pytest.mark.parametrize(
    "says",
    [
        {"seq": 3},
        {"unread": 1, "mirror": None},
        {"mirror": "1 1 1"},
        {"mirror": "2 3 2"},
        {"by_api": 3},
        {"by_api": None},
        {"by_socket": 1},
    ],
)
def test_a_count_that_differs_from_the_rows_has_drifted(says: dict[str, int]) -> None:
    lines, rows = [line(1), line(2)], [row(1), row(2, seq=2)]
    assert judge(lines, Facts(rows=rows, inboxes={"alice": INBOX})) == []
    wrong = judge(lines, Facts(rows=rows, inboxes={"alice": replace(INBOX, **says)}))  # type: ignore[arg-type]
    assert {finding.wrong for finding in wrong} == {Wrong.DRIFTED}


def test_a_gap_in_the_order_of_an_inbox_has_drifted() -> None:
    found = judge([line(1), line(2)], Facts(rows=[row(1), row(2, seq=3)], inboxes={"alice": INBOX}))
    assert [finding.wrong for finding in found] == [Wrong.DRIFTED]


@pytest.mark.parametrize("seen", [{}, {1: "id-1"}, {2: "id-2"}, {1: "id-1", 2: "another"}])
def test_what_a_client_did_not_get_is_missed(seen: dict[int, str]) -> None:
    lines, rows = [line(1), line(2)], [row(1), row(2, seq=2)]
    assert judge(lines, Facts(rows=rows, seen={"alice": {1: "id-1", 2: "id-2"}})) == []
    found = judge(lines, Facts(rows=rows, seen={"alice": seen}))
    assert {finding.wrong for finding in found} == {Wrong.MISSED}


def test_what_is_left_over_and_answers_out_of_the_contract_are_findings() -> None:
    facts = Facts(left_over=["1 event in flight"], wrong_answers=["GET /: 500"], contradictions=["seq 1 is a and b"])
    counted = counts_of(judge([line(1, what=What.WRONG, id="", detail="500")], facts))
    assert counted[Wrong.LEFT_OVER] == counted[Wrong.MISSED] == 1
    assert counted[Wrong.ANSWERS] == 2


@pytest.mark.parametrize(
    ("name", "slowest_stop", "endings", "wrong"),
    [
        ("web 1", 9.5, {}, []),
        ("web 1", 25.0, {}, [Wrong.STOPPED_LATE]),
        ("worker 2", 1.0, {"SIGKILL": 3}, []),
        ("worker 2", 1.0, {"exit code 1": 1}, [Wrong.ENDED]),
        ("scheduler", 1.0, {"SIGKILL": 1}, [Wrong.ENDED]),
    ],
)
def test_a_process_that_stops_late_or_ends_unasked_is_found(
    name: str, slowest_stop: float, endings: dict[str, int], wrong: list[Wrong]
) -> None:
    assert [finding.wrong for finding in judge_process(name, slowest_stop, endings)] == wrong


def test_a_finding_tells_all_that_is_known_of_an_event() -> None:
    (found,) = judge([line(7, key="order-7")], Facts(rows=[row(7, attempts=2)]))
    for word in ("#7", "id-7", "alice", "order-7", "2 attempts", "seq 1"):
        assert word in found.words


def test_delays_are_counted_from_the_first_202_and_name_what_was_broken_meanwhile() -> None:
    lines = [line(1), line(1), line(3), line(2, Kind.FAILS_ONCE)]
    faults = [
        Done(2.0, "valkey", Action.FREEZE, 1.5, done=True),
        Done(2.0, "web 1", Action.KILL, 1.0, done=False),
        Done(9.0, "web 1", Action.KILL, 1.0, done=True),
    ]
    delay = delay_of(lines, [row(1), row(2), row(3)], BEGUN, faults)
    assert delay is not None
    assert (delay.events, delay.p50, delay.worst, delay.number) == (2, 3.0, 3.0, 3)
    assert delay.meanwhile == [str(faults[0])]


def test_the_longest_time_without_a_202_is_counted_from_the_beginning_to_the_end() -> None:
    lines = [structs.replace(line(1), when=BEGUN + at) for at in (1, 2, 9, 10)]
    lines.append(structs.replace(line(1, detail=LATER), when=BEGUN + 5))
    assert silence_of(lines, BEGUN, 11) == 7
    assert silence_of(lines, BEGUN, 18) == 8
    assert silence_of([], BEGUN, 5) == 5


def test_a_seed_is_a_plan() -> None:
    assert Plan.make(7, 60, TARGETS) == Plan.make(7, 60, TARGETS)
    assert Plan.make(7, 60, TARGETS) != Plan.make(8, 60, TARGETS)


def test_a_plan_of_a_minute_breaks_everything_and_sends_everything() -> None:
    plan = Plan.make(SEED, 60, TARGETS)
    requests = [request for producer in plan.producers for request in producer]
    numbers = [event.number for request in requests for event in request.events]
    assert {fault.target.rstrip(" 12") for fault in plan.faults} == {target.rstrip(" 12") for target in TARGETS.names}
    assert {fault.action for fault in plan.faults if TARGETS.is_server(fault.target)} == set(BREAKING)
    assert {event.kind for request in requests for event in request.events} == set(Kind)
    assert len(numbers) == len(set(numbers))
    assert {(request.batch, bool(request.key)) for request in requests} == {
        (batch, keyed) for batch in (True, False) for keyed in (True, False)
    }
    assert any(request.again is not None for request in requests)
    assert all(request.key for request in requests if request.again is not None)
    bulks = [bulk for sender in plan.bulks for bulk in sender]
    assert len({bulk.key for bulk in bulks}) == len({bulk.title for bulk in bulks}) == len(bulks) >= 10
    assert {change.what for bulk in bulks for change in bulk.changes} == {"pause", "resume", "rate", "cancel"}


def test_a_plan_for_a_cluster_breaks_each_node_and_moves_slots() -> None:
    targets = Layout(shards=64, cluster=True).targets
    faults = Plan.make(SEED, 300, targets).faults
    assert {fault.target for fault in faults} == {*targets.names, SLOTS}
    assert {fault.action for fault in faults if fault.target in targets.nodes} == set(BREAKING)
    assert {fault.action for fault in faults if fault.target == SLOTS} == {Action.MOVE}


def test_a_ledger_holds_what_was_written_to_it(tmp_path: Path) -> None:
    path, lines = tmp_path / "ledger.jsonl", [line(1), line(2, key="a key")]
    promises = Ledger(path)
    promises.write(lines[:1])
    assert ledger.read(path) == lines[:1]
    promises.write(lines[1:])
    assert ledger.read(path) == lines
