"""The verdict: what was promised against what is there. No I/O; the tests give it made-up facts."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.chaos import judged_bulks
from tests.chaos.facts import Facts, Inbox, Letter, Row
from tests.chaos.findings import Finding, Wrong
from tests.chaos.layout import RETRY_DELAYS
from tests.chaos.ledger import Line, What
from tests.chaos.plan import Kind

# The promise is 10 s from the signal; a loaded machine takes a moment to deliver one, and to be looked at.
STOP_SECONDS: Final = 12.0
# What an event does that kills its worker.
EXPECTED_END: Final = ("worker", "SIGKILL")

REASONS: Final = {Kind.FAILS_ALWAYS: "retries_exhausted", Kind.INVALID: "invalid", Kind.CRASH: "crash"}
ATTEMPTS: Final = {Kind.PLAIN: 1, Kind.SLOW: 1, Kind.FAILS_ONCE: 2, Kind.FAILS_TWICE: 3}
ALL_ATTEMPTS: Final = len(RETRY_DELAYS) + 1
OPEN: Final = frozenset({"dead", "replaying"})


@dataclass
class Case:
    """One number: every line, every row and every letter that has it."""

    number: int | None
    lines: list[Line] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        """What was sent."""
        return Kind(self.lines[0].kind)

    @property
    def ids(self) -> set[str]:
        """The ids that were promised."""
        return {line.id for line in self.lines if line.what is What.ACCEPTED}

    @property
    def open_letters(self) -> list[Letter]:
        """The letters that were not replayed since."""
        return [letter for letter in self.letters if letter.status in OPEN]

    def was(self, *whats: What) -> bool:
        """Whether one of these was said of it."""
        return any(line.what in whats for line in self.lines)

    def finding(self, wrong: Wrong, words: str) -> Finding:
        """A finding about this number, with all that is known of it."""
        promises = [
            f"{line.what} {line.kind} {line.id} for {line.recipient} {line.key}".rstrip() for line in self.lines
        ]
        rows = [
            f"row {row.id} seq {row.seq} of {row.recipient}, {row.attempts} attempts, {row.stored_at:%H:%M:%S.%f}"
            for row in self.rows
        ]
        letters = [
            f"letter {letter.id} {letter.status} {letter.reason} ({letter.error}), {letter.attempts} attempts, "
            f"life {letter.life}"
            for letter in self.letters
        ]
        return Finding(wrong, f"#{self.number}: {words}; " + "; ".join(promises + rows + letters))


def judge(lines: Iterable[Line], facts: Facts) -> list[Finding]:
    """Everything that is wrong."""
    every = list(lines)
    noted = [line for line in every if line.what not in judged_bulks.BULK]
    findings = judged_bulks.judge(every, facts)
    findings += [found for case in cases(noted, facts) for found in judge_case(case)]
    rows: Mapping[str, list[Row]] = defaultdict(list)
    for row in facts.rows:
        rows[row.recipient].append(row)
    for recipient, inbox in facts.inboxes.items():
        findings += [Finding(Wrong.DRIFTED, f"{recipient}: {words}") for words in drift(inbox, rows[recipient])]
    findings += missed(facts)
    findings += [Finding(Wrong.LEFT_OVER, words) for words in facts.left_over]
    answers = [f"#{line.number}: {line.detail}" for line in noted if line.what is What.WRONG] + facts.wrong_answers
    return findings + [Finding(Wrong.ANSWERS, words) for words in answers]


def judge_process(name: str, slowest_stop: float, endings: Mapping[str, int]) -> Iterator[Finding]:
    """A process of ours: how long it took to stop at most, in seconds, and how it ended without being asked to."""
    if slowest_stop > STOP_SECONDS:
        yield Finding(Wrong.STOPPED_LATE, f"{name} took {slowest_stop:.1f} s")
    for ending, count in endings.items():
        if (name.partition(" ")[0], ending) != EXPECTED_END:
            yield Finding(Wrong.ENDED, f"{name}: {ending}, {count} times")


def cases(lines: Iterable[Line], facts: Facts) -> list[Case]:
    """All that is known, by number."""
    by_number: dict[int | None, Case] = {}

    def case(number: int | None) -> Case:
        return by_number.setdefault(number, Case(number))

    for line in lines:
        case(line.number).lines.append(line)
    for row in facts.rows:
        if row.job is None:
            case(row.number).rows.append(row)
    for letter in facts.letters:
        case(letter.number).letters.append(letter)
    return list(by_number.values())


def judge_case(case: Case) -> Iterator[Finding]:
    """What is wrong with one event."""
    if not case.lines:
        yield case.finding(Wrong.DOUBLED, "nobody sent it")
        return
    for wrong, words in (*_kept(case), *_once(case), *_fate(case)):
        yield case.finding(wrong, words)


Complaint = tuple[Wrong, str]


def _kept(case: Case) -> Iterator[Complaint]:
    """Whether what was promised is there, where it was promised."""
    there = {row.id for row in case.rows} | {letter.id for letter in case.letters}
    for event_id in sorted(case.ids - there):
        yield Wrong.LOST, f"{event_id} was accepted and is neither a row nor a letter"
    if case.letters and not case.rows and not case.open_letters:
        yield Wrong.LOST, "its letter was replayed and nothing came of it"
    if case.was(What.CORRECTED) and not case.rows:
        yield Wrong.LOST, "its letter was corrected and replayed, and there is no row"
    if any(row.recipient != case.lines[0].recipient for row in case.rows if case.lines[0].recipient):
        yield Wrong.LOST, "it went to somebody else"


def _once(case: Case) -> Iterator[Complaint]:
    """Whether it is there once."""
    if len(case.ids) > 1:
        yield Wrong.DOUBLED, "one key was answered with two ids"
    if len(case.rows) > 1:
        yield Wrong.DOUBLED, f"{len(case.rows)} rows"
    if len(case.letters) > 1:
        yield Wrong.DOUBLED, f"{len(case.letters)} letters"
    if case.rows and case.open_letters:
        yield Wrong.DOUBLED, "a row and an open letter"


def _fate(case: Case) -> Iterator[Complaint]:
    """Whether it became what it had to, after as many attempts as it takes."""
    corrected = case.was(What.CORRECTED, What.MAY_BE_CORRECTED)
    for row in case.rows:
        expected = 1 if corrected else ATTEMPTS.get(case.kind)
        if expected is None:
            yield Wrong.ATTEMPTS, "it can only fail, and was stored"
        elif row.attempts != expected:
            yield Wrong.ATTEMPTS, f"{row.attempts} attempts, not {expected}"
    for letter in case.letters:
        if letter.reason != REASONS.get(case.kind):
            yield Wrong.CONDEMNED, f"it is dead for no reason: {letter.reason}"
        elif case.kind is Kind.FAILS_ALWAYS and letter.attempts != ALL_ATTEMPTS:
            yield Wrong.ATTEMPTS, f"given up after {letter.attempts} attempts, not {ALL_ATTEMPTS}"


def drift(inbox: Inbox, rows: Sequence[Row]) -> Iterator[str]:
    """Where those who count the same do not agree."""
    if sorted(row.seq for row in rows) != list(range(1, inbox.seq + 1)):
        yield f"its seq is {inbox.seq}, and its {len(rows)} rows are not 1 to {inbox.seq}"
    unread = sum(row.unread for row in rows)
    counted = {"its inbox": inbox.unread, "the API": inbox.by_api}
    if inbox.by_socket is not None:
        counted["a new socket"] = inbox.by_socket
    for who, says in counted.items():
        if says != unread:
            yield f"{who} says {says} unread, and {unread} rows are"
    mirror = inbox.mirror
    if mirror and not mirror.startswith("lease") and mirror != (truth := f"{inbox.version} {inbox.unread} {inbox.seq}"):
        yield f"its mirror (version, unread, seq) is {mirror}, not {truth}"


def missed(facts: Facts) -> Iterator[Finding]:
    """What a client on a socket did not get, or got wrong."""
    sent: Mapping[str, dict[int, str]] = defaultdict(dict)
    for row in facts.rows:
        sent[row.recipient][row.seq] = row.id
    for recipient, seen in facts.seen.items():
        for seq, event_id in sent[recipient].items():
            if seen.get(seq) != event_id:
                yield Finding(Wrong.MISSED, f"{recipient}: seq {seq} is {event_id}, and the client has {seen.get(seq)}")
    for words in facts.contradictions:
        yield Finding(Wrong.MISSED, words)
