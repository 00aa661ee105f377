"""The verdict on bulk jobs. No I/O, as in verdict.py."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from tests.chaos.facts import Facts, Job, Row
from tests.chaos.findings import Finding, Wrong
from tests.chaos.ledger import Line, What
from tests.chaos.plan import Kind

BULK: Final = frozenset({What.BULK, What.BULK_MAY_BE_CANCELLED, What.BULK_CANCELLED})
ATTEMPTS: Final = {Kind.PLAIN: 1, Kind.FAILS_ONCE: 2}

Complaint = tuple[Wrong, str]


def judge(lines: Sequence[Line], facts: Facts) -> list[Finding]:
    """Everything that is wrong with bulk jobs."""
    findings = [Finding(Wrong.DOUBLED, f"{title}: {count} jobs of one key") for title, count in _twice(facts.jobs)]
    rows: dict[str, list[Row]] = {}
    for row in facts.rows:
        if row.job:
            rows.setdefault(row.job, []).append(row)
    jobs = {job.id: job for job in facts.jobs}
    for accepted in {line.id: line for line in lines if line.what is What.BULK}.values():
        said = [line for line in lines if line.what in BULK and line.id == accepted.id]
        job = jobs.get(accepted.id)
        complaints = _judge_job(said, job, rows.get(accepted.id, [])) if job else [(Wrong.LOST, "it is gone")]
        findings += [Finding(wrong, f"bulk #{accepted.number} {accepted.id}: {words}") for wrong, words in complaints]
    strangers = rows.keys() - jobs.keys()
    return findings + [Finding(Wrong.DOUBLED, f"bulk {job_id}: rows of no job") for job_id in strangers]


def _twice(jobs: Iterable[Job]) -> list[tuple[str, int]]:
    return [(title, count) for title, count in Counter(job.title for job in jobs).items() if count > 1]


def _judge_job(said: Sequence[Line], job: Job, rows: Sequence[Row]) -> Iterator[Complaint]:
    asked_for = set(said[0].recipient.split())
    found = Counter(row.recipient for row in rows)
    if more := [recipient for recipient, count in found.items() if count > 1]:
        yield Wrong.DOUBLED, f"{len(more)} recipients have more than one, {more[0]} for one"
    if strangers := found.keys() - asked_for:
        yield Wrong.DOUBLED, f"{len(strangers)} have one whom nobody named"
    if job.stored != len(rows) or job.failed:
        yield Wrong.DRIFTED, f"it says {job.stored} stored and {job.failed} failed, and {len(rows)} rows are"
    if any(row.attempts != ATTEMPTS[Kind(said[0].kind)] for row in rows):
        yield Wrong.ATTEMPTS, f"not {ATTEMPTS[Kind(said[0].kind)]} attempts each"
    if job.status == "done":
        if missing := asked_for - found.keys():
            yield Wrong.LOST, f"{len(missing)} of {len(asked_for)} have none"
    elif job.status == "cancelled":
        yield from _judge_cut(said, job, len(rows))
    else:
        yield (
            Wrong.LEFT_OVER,
            f"it is {job.status}: {job.fanned_out} fanned out, {len(rows)} of {len(asked_for)} stored",
        )


def _judge_cut(said: Sequence[Line], job: Job, stored: int) -> Iterator[Complaint]:
    """A cancelled job has as many rows as were fanned out by then."""
    if all(line.what is What.BULK for line in said):
        yield Wrong.LOST, "it was cancelled by nobody"
    answered = {int(line.detail) for line in said if line.what is What.BULK_CANCELLED}
    if answered - {stored} or job.fanned_out != stored:
        told = ", ".join(map(str, sorted(answered))) or "nothing"
        yield Wrong.DRIFTED, f"cancelled at {told}, it says {job.fanned_out} by now, and {stored} rows are"
