"""Bulk jobs for end-to-end tests: sent by the API, followed there, and judged by what is in the tables."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import httpx
import msgspec

from notifications import events
from notifications.events import Draft
from tests import truth
from tests.api import Api
from tests.stack import Process, Stack, wait_until

Job = dict[str, Any]

LINES_AT_ONCE = 1000
UPLOAD_SECONDS = 60
CONTENT: Job = {"type": "news", "title": "News"}

ROWS = "SELECT recipient, count(*) FROM notifications_notification WHERE source_id = %s GROUP BY recipient"
IDS = "SELECT id FROM notifications_notification WHERE source_id = %s"
COUNT = "SELECT count(*) FROM notifications_notification WHERE source_id = %s"
COUNTED_AT = "SELECT counted_at FROM bulk_bulkjob WHERE id = %s"
# Inboxes whose counts, or whose row of numbers 1, 2, 3 …, is not that of their notifications.
WRONG_INBOXES = """
    SELECT recipient FROM notifications_inbox AS inbox FULL JOIN (
        SELECT recipient, count(*) AS arrived, max(seq) AS last, min(seq) AS first,
            count(*) FILTER (WHERE read_at IS NULL) AS unread
        FROM notifications_notification GROUP BY recipient
    ) AS rows USING (recipient)
    WHERE (inbox.seq, inbox.unread, rows.first, rows.last)
        IS DISTINCT FROM (rows.arrived, rows.unread, 1::bigint, rows.arrived)
"""


def crowd(name: str, count: int) -> list[str]:
    """Recipients of one test, of every shard where they are more than a few."""
    return [f"{name}-{number}" for number in range(count)]


def lines(recipients: Sequence[str], **fields: Any) -> Iterator[bytes]:
    """A job as NDJSON; fields are those of its notification, and how it is to run."""
    yield msgspec.json.encode({**CONTENT, **fields}) + b"\n"
    for start in range(0, len(recipients), LINES_AT_ONCE):
        yield "".join(f"{one}\n" for one in recipients[start : start + LINES_AT_ONCE]).encode()


def post(stack: Stack, recipients: Sequence[str], **fields: Any) -> httpx.Response:
    """Send a job as a stream of lines."""
    headers = {"Authorization": f"Bearer {stack.api_key}", "Content-Type": "application/x-ndjson"}
    return httpx.post(
        f"{stack.url}/api/bulk",
        content=lines(recipients, **fields),
        headers=headers,
        timeout=UPLOAD_SECONDS,
        trust_env=False,
    )


def send(stack: Stack, recipients: Sequence[str], **fields: Any) -> str:
    """Send a job that has to be accepted; its id."""
    answer = post(stack, recipients, **fields)
    assert answer.status_code == 202, answer.text
    accepted = answer.json()
    assert accepted["total"] == len(set(recipients))
    job_id: str = accepted["id"]
    return job_id


def look(api: Api, job_id: str) -> Job:
    """The job as the API shows it."""
    job: Job = api.get(f"/api/bulk/{job_id}")
    return job


def order(api: Api, job_id: str, what: str) -> Job:
    """Pause, resume or cancel; the job as the answer has it."""
    answer = api.post(f"/api/bulk/{job_id}/{what}")
    assert answer.status_code == 200, answer.text
    job: Job = answer.json()
    return job


def dial(api: Api, job_id: str, rate: str | None) -> Job:
    """Another rate; the job as the answer has it."""
    answer = api._client.patch(f"/api/bulk/{job_id}", json={"rate": rate})
    assert answer.status_code == 200, answer.text
    job: Job = answer.json()
    return job


def wait_until_fanned(api: Api, job_id: str, count: int, timeout: float = 60) -> Job:
    """The job, as soon as so many of it are fanned out and some of it is not."""
    wait_until(lambda: look(api, job_id)["fanned_out"] >= count, timeout, f"never {count} were fanned out")
    job = look(api, job_id)
    assert job["fanned_out"] < job["total"], "all of it was fanned out at once: this shows nothing"
    return job


def wait_until_over(api: Api, job_id: str, timeout: float = 60) -> Job:
    """The job, once it is over."""
    wait_until(lambda: look(api, job_id)["finished_at"], timeout, f"{job_id} is never over")
    return look(api, job_id)


def wait_until_counted(stack: Stack, job_id: str, times: int) -> None:
    """Wait until the bulk worker has looked at a job so many times more."""
    for _ in range(times):
        before = stack.sql(COUNTED_AT, [job_id])
        wait_until(lambda before=before: stack.sql(COUNTED_AT, [job_id]) != before, 15, "nobody counts it")  # type: ignore[misc]


def assert_stands_still(stack: Stack, api: Api, job: Job) -> None:
    """What was fanned out of a job is stored, and no more comes of it."""
    assert job["status"] == "paused"
    wait_until(lambda: look(api, job["id"])["stored"] == job["fanned_out"], message="what was out never arrived")
    wait_until_counted(stack, job["id"], 3)
    after = look(api, job["id"])
    assert (after["status"], after["fanned_out"], after["stored"]) == ("paused", job["fanned_out"], job["fanned_out"])
    assert rows(stack, job["id"]) == job["fanned_out"]


def wait_for_rest(stack: Stack, timeout: float = 60) -> None:
    """Wait until no lane and no state in Redis holds anything."""
    wait_until(lambda: not truth.left_over(stack), timeout, "something is left in Redis")


def rows(stack: Stack, job_id: str) -> int:
    """How many rows there are of a job."""
    count: int = stack.sql(COUNT, [job_id])[0][0]
    return count


def assert_exact(stack: Stack, job: Job, recipients: Collection[str]) -> None:
    """Each recipient has one row, under the one id that it can have; nobody else has any; all counts agree."""
    found = Counter(dict(stack.sql(ROWS, [job["id"]])))
    assert found == Counter(set(recipients)), "not each recipient has one row"
    assert {str(row_id) for (row_id,) in stack.sql(IDS, [job["id"]])} == ids_of(job["id"], recipients)
    assert job["stored"] == len(found)
    assert_counts_agree(stack)


def assert_done(stack: Stack, job: Job, recipients: Collection[str]) -> None:
    """All of a job arrived, and it says so."""
    assert (job["status"], job["failed"], job["fanned_out"]) == ("done", 0, len(set(recipients)))
    assert_exact(stack, job, recipients)
    wait_for_rest(stack)


def assert_cut(stack: Stack, job: Job, recipients: Collection[str]) -> None:
    """Of a job that was cancelled, those have a row who were fanned out when it was; each one, and nobody else."""
    assert job["status"] == "cancelled"
    found = Counter(dict(stack.sql(ROWS, [job["id"]])))
    assert set(found.values()) <= {1}
    assert found.keys() <= set(recipients)
    assert len(found) == job["stored"] == job["fanned_out"] - job["failed"]
    assert_counts_agree(stack)


def assert_counts_agree(stack: Stack) -> None:
    """Every inbox counts its rows, numbers them without a gap, and its mirror says the same."""
    assert not stack.sql(WRONG_INBOXES)
    truth.assert_mirrors_agree(stack)


def ids_of(job_id: str, recipients: Collection[str]) -> set[str]:
    """The ids that a job's notifications have."""
    template = events.template(Draft(recipient="nobody", type="news", title="News"), job_id)
    return {event.id for event in events.copies(template, set(recipients))}


def end(*processes: Process) -> None:
    """Ask them to stop, as an operator does, once they are there to be asked."""
    for process in processes:
        wait_until(lambda process=process: "process.started" in process.log(), message="it never started")  # type: ignore[misc]
        process.terminate()
    for process in processes:
        assert process.wait(12) == 0, process.tail()
