"""Bulk jobs over real processes: from the request to rows, frames and counts."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests import bulks
from tests.api import Api
from tests.bulks import Job
from tests.sockets import Reader, Socket
from tests.stack import Process, Stack, wait_until

LOTS = 30_000
MANY = 20_000
SOME = 1000
FEW = 250


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A web, a worker and two bulk workers, shared by the tests: each uses recipients of its own."""
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        running.start_web()
        processes: list[Process] = [running.start_worker(), running.start_bulk_worker(), running.start_bulk_worker()]
        yield running
        bulks.end(*processes)


@pytest.fixture
def api(stack: Stack) -> Iterator[Api]:
    with Api(stack) as client:
        yield client


def test_everybody_in_a_list_gets_one_and_what_the_job_says_of_itself_is_true(stack: Stack, api: Api) -> None:
    recipients = bulks.crowd("many", MANY)
    answer = bulks.post(stack, [*recipients, *recipients[:100]], body="A body", data={"page": 7})
    assert answer.status_code == 202, answer.text
    accepted = answer.json()
    assert (accepted["total"], accepted["duplicates"]) == (MANY, 100)
    job = bulks.wait_until_over(api, accepted["id"])
    bulks.assert_done(stack, job, recipients)
    assert (job["total"], job["duplicates"], job["eta_seconds"], job["rate_limit"]) == (MANY, 100, 0, None)
    assert (job["title"], job["body"], job["data"]) == ("News", "A body", {"page": 7})
    assert job["created_at"] <= job["started_at"] < job["finished_at"]
    assert api.get("/api/bulk")["results"][0] == job
    for recipient in recipients[:: MANY // 20]:
        assert api.get(f"/api/recipients/{recipient}/unread") == {"unread": 1}


def test_a_notification_of_a_bulk_tells_where_it_came_from(stack: Stack, api: Api) -> None:
    job_id = bulks.send(stack, ["origin-1", "origin-2"])
    bulks.wait_until_over(api, job_id)
    (shown,) = api.get("/api/notifications?recipient=origin-1")["results"]
    life = api.get(f"/api/notifications/{shown['id']}")
    assert (life["status"], life["source"], life["source_id"], life["attempts"]) == ("stored", "bulk", job_id, 1)


def test_those_who_are_online_see_it_at_once_and_in_its_place(stack: Stack, api: Api) -> None:
    recipients = bulks.crowd("online", SOME)
    api.notify(recipients[0])
    with ExitStack() as cleanup:
        readers = {name: Reader(stack.url, api.token(name)) for name in recipients[:20]}
        for reader in readers.values():
            cleanup.callback(reader.close)
        socket = cleanup.enter_context(Socket(stack.url, api.token(recipients[20])))
        socket.expect("hello")
        job_id = bulks.send(stack, recipients)
        frame = socket.expect("notification")
        assert (frame["notification"]["title"], frame["notification"]["seq"], frame["unread"]) == ("News", 1, 1)
        expected = {name: 1 + (name == recipients[0]) for name in readers}
        wait_until(lambda: all(readers[name].last == seq for name, seq in expected.items()), message="some miss it")
        bulks.assert_done(stack, bulks.wait_until_over(api, job_id), recipients)


def test_several_jobs_to_the_same_people_run_side_by_side(stack: Stack, api: Api) -> None:
    recipients = bulks.crowd("side", 3000)
    jobs = [bulks.send(stack, recipients, title="News", rate="500/s") for _ in range(3)]
    wait_until(lambda: bulks.look(api, jobs[-1])["stored"] > 0, message="the last never began")
    assert bulks.look(api, jobs[0])["status"] == "running", "it went before the last began"
    for job_id in jobs:
        bulks.assert_done(stack, bulks.wait_until_over(api, job_id), recipients)
    assert api.get(f"/api/recipients/{recipients[0]}/unread") == {"unread": 3}


def test_a_job_with_a_delay_begins_when_its_time_has_come(stack: Stack, api: Api) -> None:
    recipients = bulks.crowd("later", SOME)
    job_id = bulks.send(stack, recipients, delay=2)
    job = bulks.look(api, job_id)
    assert (job["status"], job["started_at"]) == ("queued", None)
    assert job["created_at"] < job["start_at"]
    job = bulks.wait_until_over(api, job_id)
    assert job["started_at"] >= job["start_at"]
    bulks.assert_done(stack, job, recipients)


def test_a_job_that_is_cancelled_before_its_time_reaches_nobody(stack: Stack, api: Api) -> None:
    recipients = bulks.crowd("never", SOME)
    job_id = bulks.send(stack, recipients, delay=2)
    cancelled = bulks.order(api, job_id, "cancel")
    assert (cancelled["status"], cancelled["fanned_out"]) == ("cancelled", 0)
    assert bulks.wait_until_over(api, job_id)["stored"] == 0
    other = bulks.send(stack, bulks.crowd("after-never", 10), delay=2)
    bulks.wait_until_over(api, other)
    assert bulks.rows(stack, job_id) == 0


def test_a_job_paused_resumed_and_cancelled_is_exact_at_every_point(stack: Stack, api: Api) -> None:
    recipients = bulks.crowd("orders", LOTS)
    job_id = bulks.send(stack, recipients)
    bulks.wait_until_fanned(api, job_id, LOTS * 3 // 10)
    paused = timely(lambda: bulks.order(api, job_id, "pause"))
    bulks.assert_stands_still(stack, api, paused)
    assert paused["fanned_out"] < LOTS

    assert timely(lambda: bulks.order(api, job_id, "resume"))["status"] == "running"
    bulks.wait_until_fanned(api, job_id, max(paused["fanned_out"] + 1, LOTS * 6 // 10))
    cancelled = timely(lambda: bulks.order(api, job_id, "cancel"))
    assert paused["fanned_out"] < cancelled["fanned_out"] < LOTS
    over = bulks.wait_until_over(api, job_id)
    assert over["fanned_out"] == cancelled["fanned_out"] == over["stored"]

    # Whatever would still come of it came before this one.
    others = bulks.crowd("after-orders", FEW)
    bulks.assert_done(stack, bulks.wait_until_over(api, bulks.send(stack, others)), others)
    bulks.wait_for_rest(stack)
    bulks.assert_cut(stack, over, recipients)
    print(f"{LOTS}: paused at {paused['fanned_out']}, cancelled at {cancelled['fanned_out']}, stored exactly")


def timely(give: Callable[[], Job]) -> Job:
    """What an order answers, within a second."""
    began = time.monotonic()
    job = give()
    assert time.monotonic() - began < 1
    return job


# On many shards a step is two thirds of a second, half of what is measured here; bulk/tests/test_fanout.py has those.
@pytest.mark.one_shard_is_enough
@pytest.mark.not_on_a_cluster("with many shards a rate goes in steps too long for so short a look")
def test_a_rate_is_kept_and_another_one_counts_at_once(stack: Stack, api: Api) -> None:
    recipients = bulks.crowd("rate", 8 * SOME)
    job_id = bulks.send(stack, recipients, rate="500/s")
    assert bulks.look(api, job_id)["rate_limit"] == "500/s"
    bulks.wait_until_fanned(api, job_id, 1)
    assert 400 < measured_rate(api, job_id, 1000) < 650
    for rate, lowest, highest in (("2000/s", 1500, 2500), ("300/s", 230, 400)):
        assert bulks.dial(api, job_id, rate)["rate_limit"] == rate
        assert lowest < measured_rate(api, job_id, highest) < highest, rate
    assert bulks.dial(api, job_id, None)["rate_limit"] is None
    bulks.assert_done(stack, bulks.wait_until_over(api, job_id, 15), recipients)


def measured_rate(api: Api, job_id: str, count: int) -> float:
    """Recipients fanned out in a second, over the next so many."""
    first, began = bulks.look(api, job_id)["fanned_out"], time.monotonic()
    job = bulks.wait_until_fanned(api, job_id, first + count)
    return float((job["fanned_out"] - first) / (time.monotonic() - began))


def test_somebody_who_is_sent_a_single_notification_meanwhile_does_not_wait(stack: Stack, api: Api) -> None:
    recipients = bulks.crowd("isolated", LOTS)
    job_id = bulks.send(stack, recipients)
    bulks.wait_until_fanned(api, job_id, LOTS // 10)
    event_id = api.notify("isolated-0")
    wait_until(lambda: api.get(f"/api/notifications/{event_id}")["status"] == "stored", message="never stored")
    assert bulks.rows(stack, job_id) < LOTS * 8 // 10, "it came with the last of the bulk"
    bulks.assert_done(stack, bulks.wait_until_over(api, job_id), recipients)


@pytest.mark.one_shard_is_enough
def test_orders_that_cannot_be_are_refused_and_change_nothing(stack: Stack, api: Api) -> None:
    job_id = bulks.send(stack, ["refusing"])
    over = bulks.wait_until_over(api, job_id)
    for what in ("pause", "resume", "cancel"):
        assert api.post(f"/api/bulk/{job_id}/{what}").status_code == 409
    assert bulks.look(api, job_id) == over
