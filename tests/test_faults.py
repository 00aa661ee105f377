"""What must not be lost, doubled or miscounted when processes are killed and servers go away. Real signals."""

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests import truth
from tests.api import Api
from tests.sockets import Reader, Socket
from tests.stack import Stack, wait_until


@contextmanager
def producing(api: Api, recipients: list[str], accepted: list[str]) -> Iterator[None]:
    """Send one notification after the other from a thread, and note each id that was accepted."""
    over = threading.Event()

    def produce() -> None:
        while not over.is_set():
            try:
                accepted.append(api.notify(random.choice(recipients)))  # noqa: S311
            except (AssertionError, httpx.HTTPError):
                # A 503, or no connection: not accepted as far as the producer knows; it waits and goes on.
                over.wait(0.2)

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def look_at(api: Api, recipients: list[str]) -> None:
    """Ask for counts, so that there are mirrors which could be wrong."""
    for recipient in recipients:
        api.get(f"/api/recipients/{recipient}/unread")


@pytest.mark.one_shard_is_enough
def test_a_worker_killed_in_the_middle_of_20_000_events_loses_and_doubles_nothing(own_stack: Stack) -> None:
    own_stack.start_web()
    recipients = [f"r{number}" for number in range(500)]
    with Api(own_stack) as api:
        look_at(api, recipients[:100])
        accepted = api.notify_all([random.choice(recipients) for _ in range(20_000)])  # noqa: S311
        worker = own_stack.start_worker()
        wait_until(lambda: truth.rows(own_stack) >= 3000, message="the worker never began")
        worker.kill()
        assert 0 < truth.rows(own_stack) < 20_000
        assert truth.in_flight(own_stack) > 0
        own_stack.start_worker()
        truth.wait_for_rest(own_stack)
        assert len(accepted) == truth.rows(own_stack) == 20_000
        truth.assert_kept(own_stack, accepted)
        for recipient, unread in own_stack.sql("SELECT recipient, unread FROM notifications_inbox LIMIT 50"):
            assert api.get(f"/api/recipients/{recipient}/unread") == {"unread": unread}


def test_workers_killed_again_and_again_lose_and_double_nothing(own_stack: Stack) -> None:
    own_stack.start_web()
    recipients = [f"r{number}" for number in range(50)]
    workers = [own_stack.start_worker() for _ in range(2)]
    with Api(own_stack) as api:
        look_at(api, recipients)
        accepted: list[str] = []
        for round_number in range(6):
            stored = truth.rows(own_stack)
            accepted += api.notify_all([random.choice(recipients) for _ in range(1500)])  # noqa: S311
            wait_until(lambda before=stored: truth.rows(own_stack) > before, message="nobody works")  # type: ignore[misc]
            workers[round_number % 2].kill()
            workers[round_number % 2] = own_stack.start_worker()
        truth.wait_for_rest(own_stack)
    truth.assert_kept(own_stack, accepted)


def test_while_postgresql_is_down_events_are_accepted_and_arrive_when_it_is_back(own_stack: Stack) -> None:
    own_stack.start_web()
    worker = own_stack.start_worker()
    with Api(own_stack) as api:
        accepted = [api.notify("alice")]
        truth.wait_for_rest(own_stack)
        own_stack.postgresql.stop()
        accepted += [api.notify("alice") for _ in range(50)] + api.notify_all(["bob"] * 500)
        assert httpx.get(f"{own_stack.url}/readyz", trust_env=False).status_code == 503
        assert httpx.get(f"{own_stack.url}/healthz", trust_env=False).status_code == 200
        assert api.get(f"/api/notifications/{accepted[-1]}")["status"] == "queued"
        wait_until(lambda: "process.outage" in worker.log(), message="the worker never noticed")
        own_stack.postgresql.start()
        truth.wait_for_rest(own_stack)
        assert worker.returncode is None
        assert worker.log().count("process.outage ") == 1, "one line when it begins"
        assert worker.log().count("process.outage_over") == 1, "and one when it is over"
        assert "Traceback" not in worker.log()
        assert {api.get(f"/api/notifications/{event_id}")["attempts"] for event_id in accepted[::50]} == {1}
    truth.assert_kept(own_stack, accepted)


@pytest.mark.one_shard_is_enough
def test_reading_works_again_soon_after_a_longer_outage(own_stack: Stack) -> None:
    own_stack.start_web()
    with Api(own_stack) as api:
        api.get("/api/notifications?recipient=alice")
        own_stack.postgresql.stop()
        # Long enough for a doubling back-off to sleep through the return.
        for _ in range(6):
            answer = api.request("/api/notifications?recipient=alice")
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
        own_stack.postgresql.start()
        wait_until(lambda: api.request("/api/notifications?recipient=alice").status_code == 200, 5, "still not reading")


@pytest.mark.one_shard_is_enough
def test_postgresql_killed_under_load_costs_nothing(own_stack: Stack) -> None:
    own_stack.start_web()
    worker = own_stack.start_worker()
    recipients = [f"r{number}" for number in range(20)]
    accepted: list[str] = []
    with Api(own_stack) as api:
        look_at(api, recipients)
        with producing(api, recipients, accepted):
            for _ in range(2):
                before = truth.rows(own_stack)
                wait_until(lambda before=before: truth.rows(own_stack) > before + 50, message="nothing is stored")  # type: ignore[misc]
                own_stack.postgresql.kill()
                own_stack.postgresql.start()
        truth.wait_for_rest(own_stack)
    assert worker.returncode is None
    truth.assert_kept(own_stack, accepted)


def test_redis_killed_under_load_keeps_every_202(own_stack: Stack) -> None:
    own_stack.start_web()
    worker = own_stack.start_worker()
    recipients = [f"r{number}" for number in range(20)]
    accepted: list[str] = []
    with Api(own_stack) as api:
        look_at(api, recipients)
        with producing(api, recipients, accepted):
            for _ in range(2):
                before = len(accepted)
                wait_until(lambda before=before: len(accepted) > before + 50, message="nothing is accepted")  # type: ignore[misc]
                own_stack.valkey.kill()
                own_stack.valkey.start()
        truth.wait_for_rest(own_stack)
        assert worker.returncode is None
        assert "Traceback" not in worker.log()
        # An event whose 202 got lost with the connection may be there too: more than was promised, never less.
        stored = {str(row_id) for (row_id,) in own_stack.sql("SELECT id FROM notifications_notification")}
    assert set(accepted) <= stored
    truth.assert_kept(own_stack, stored)


def test_a_redis_that_stands_still_is_a_503_with_retry_after_and_work_goes_on_after_it(own_stack: Stack) -> None:
    own_stack.start_web()
    worker = own_stack.start_worker()
    with Api(own_stack) as api:
        accepted = [api.notify("alice")]
        truth.wait_for_rest(own_stack)
        own_stack.valkey.freeze()
        try:
            begun = time.monotonic()
            answer = api.post("/api/notify", {"recipient": "alice", "type": "t", "title": "t"})
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert time.monotonic() - begun < 10
        finally:
            own_stack.valkey.thaw()
        wait_until(lambda: api.post("/api/notify", {}).status_code == 400, message="Redis was not found again")
        accepted.append(api.notify("alice"))
        truth.wait_for_rest(own_stack)
        assert worker.returncode is None
    # What was refused while it stood still was not taken up when it went on.
    truth.assert_kept(own_stack, accepted)


@pytest.mark.one_shard_is_enough
def test_a_worker_that_stood_still_and_goes_on_doubles_nothing(own_stack: Stack) -> None:
    own_stack.start_web()
    with Api(own_stack) as api:
        frozen = own_stack.start_worker()
        look_at(api, ["alice", "bob"])
        accepted = api.notify_all(["alice", "bob"] * 5000)
        wait_until(lambda: truth.rows(own_stack) > 0, message="the worker never began")
        frozen.stop()
        own_stack.start_worker()
        truth.wait_for_rest(own_stack)
        frozen.cont()
        accepted += api.notify_all(["alice", "bob"] * 500)
        truth.wait_for_rest(own_stack)
        assert frozen.returncode is None
        frozen.terminate()
        assert frozen.wait(10) == 0
    truth.assert_kept(own_stack, accepted)


STANDS_STILL_WITH_A_LOCK = """
import os, signal, struct, django
django.setup()
from django.db import connection, transaction
from notifications.models import Inbox

def send(kind, body):
    os.write(connection.connection.pgconn.socket, kind + struct.pack("!i", len(body) + 4) + body)

with transaction.atomic():
    Inbox.objects.select_for_update().get(recipient="alice")
    {then}
    print("locked", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""
BETWEEN_STATEMENTS = "pass"
# Parsed, and not a word of what to do with it.
IN_A_HALF_SENT_STATEMENT = r'send(b"P", b"\0SELECT 1\0\0\0")'
BEFORE_THE_ANSWER_IS_TAKEN = r'send(b"Q", b"SELECT repeat(md5(n::text), 100) FROM generate_series(1, 100000) AS n\0")'


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize("then", [BETWEEN_STATEMENTS, IN_A_HALF_SENT_STATEMENT, BEFORE_THE_ANSWER_IS_TAKEN])
def test_a_process_that_stands_still_in_a_transaction_does_not_hold_an_inbox_for_ever(
    own_stack: Stack, then: str
) -> None:
    own_stack.start_web()
    own_stack.start_worker()
    with Api(own_stack) as api:
        accepted = [api.notify("alice")]
        truth.wait_for_rest(own_stack)
        own_stack.env["DJANGO_SETTINGS_MODULE"] = "notify_project.settings"
        frozen = own_stack.start([sys.executable, "-c", STANDS_STILL_WITH_A_LOCK.replace("{then}", then)])
        wait_until(lambda: "locked" in frozen.log(), message="never got the lock")
        accepted.append(api.notify("alice"))
        truth.wait_for_rest(own_stack, timeout=30)
        assert frozen.returncode is None, "it ended, and its locks with it: this showed nothing"
    truth.assert_kept(own_stack, accepted)


@pytest.mark.one_shard_is_enough
def test_who_marks_read_does_not_wait_for_ever_for_a_process_that_stands_still(own_stack: Stack) -> None:
    own_stack.start_web()
    own_stack.start_worker()
    with Api(own_stack) as api:
        api.notify("alice")
        truth.wait_for_rest(own_stack)
        token = api.token("alice")
        own_stack.env["DJANGO_SETTINGS_MODULE"] = "notify_project.settings"
        script = STANDS_STILL_WITH_A_LOCK.replace("{then}", IN_A_HALF_SENT_STATEMENT)
        frozen = own_stack.start([sys.executable, "-c", script])
        wait_until(lambda: "locked" in frozen.log(), message="never got the lock")
        as_alice = {"Authorization": f"Bearer {token}"}
        assert api.post("/api/recipients/alice/read", {"all": True}, **as_alice).status_code == 200
        assert frozen.returncode is None, "it ended, and its locks with it: this showed nothing"


@pytest.mark.parametrize("postgresql_is_there", [True, False])
def test_a_worker_that_is_told_to_stop_does_so_with_its_work_finished_or_given_back(
    own_stack: Stack, *, postgresql_is_there: bool
) -> None:
    own_stack.start_web()
    worker = own_stack.start_worker()
    with Api(own_stack) as api:
        wait_until(lambda: "process.started" in worker.log())
        # A key that the web has not looked up yet is not let in without PostgreSQL.
        assert api.request("/api/stats").status_code == 200
        if not postgresql_is_there:
            own_stack.postgresql.stop()
        accepted = api.notify_all(["alice"] * 10_000)
        if not postgresql_is_there:
            wait_until(lambda: "process.outage" in worker.log(), message="the worker never noticed")
        worker.terminate()
        assert worker.wait(10) == 0
        assert "process.stopped" in worker.log()
        if not postgresql_is_there:
            own_stack.postgresql.start()
        own_stack.start_worker()
        truth.wait_for_rest(own_stack)
    truth.assert_kept(own_stack, accepted)


def test_a_flushed_redis_is_work_as_usual_afterwards(own_stack: Stack) -> None:
    own_stack.start_web()
    worker = own_stack.start_worker()
    with Api(own_stack) as api, Socket(own_stack.url, api.token("alice")) as socket:
        socket.expect("hello")
        accepted = [api.notify("alice")]
        socket.expect("notification")
        own_stack.redis().flushall()
        accepted.append(api.notify("alice"))
        truth.wait_for_rest(own_stack)
        assert api.get("/api/recipients/alice/unread") == {"unread": 2}
        assert worker.returncode is None
    truth.assert_kept(own_stack, accepted)


def test_frames_flow_again_after_redis_was_restarted(own_stack: Stack) -> None:
    own_stack.env["NOTIFY_HEARTBEAT_SECONDS"] = "1"
    web = own_stack.start_web()
    own_stack.start_worker()
    with Api(own_stack) as api, Socket(own_stack.url, api.token("alice")) as socket:
        socket.expect("hello")
        api.notify("alice")
        assert socket.expect("notification")["notification"]["seq"] == 1
        own_stack.valkey.kill()
        own_stack.valkey.start()
        wait_until(lambda: api.post("/api/notify", {}).status_code == 400, message="Redis was not found again")

        def live() -> bool:
            api.notify("alice")
            try:
                return bool(socket.expect("notification", timeout=1)["notification"]["seq"] > 1)
            except TimeoutError:
                return False

        wait_until(live, message="no frame came any more")
        assert web.log().count("Traceback") == 0


@pytest.mark.one_shard_is_enough
def test_a_socket_that_comes_while_redis_is_away_is_told_to_come_again(own_stack: Stack) -> None:
    web = own_stack.start_web()
    with Api(own_stack) as api:
        token = api.token("alice")
        own_stack.valkey.stop()
        with Socket(own_stack.url, token) as refused:
            assert refused.close_code() == 4503
        own_stack.valkey.start()
        with Socket(own_stack.url, token) as socket:
            socket.expect("hello")
    assert "Traceback" not in web.log()


def follow(stack: Stack, api: Api, count: int) -> dict[str, Reader]:
    """Readers for as many recipients."""
    return {name: Reader(stack.url, api.token(name)) for name in (f"r{number}" for number in range(count))}


@pytest.mark.one_shard_is_enough
def test_200_clients_that_lose_their_connections_miss_nothing_and_see_nothing_twice(own_stack: Stack) -> None:
    own_stack.env["NOTIFY_HEARTBEAT_SECONDS"] = "2"
    own_stack.start_web()
    own_stack.start_worker()
    with Api(own_stack) as api:
        readers = follow(own_stack, api, 200)
        try:
            accepted = []
            for _ in range(50):
                accepted += api.notify_all([random.choice(list(readers)) for _ in range(100)])  # noqa: S311
                for reader in random.sample(list(readers.values()), 20):
                    reader.cut()
            truth.wait_for_rest(own_stack)
            expected = dict(own_stack.sql("SELECT recipient, seq FROM notifications_inbox"))
            wait_until(all_seen(readers, expected), 60, "clients miss notifications")
        finally:
            for reader in readers.values():
                reader.close()
    assert sum(expected.values()) == len(accepted) == 5000
    for name, reader in readers.items():
        assert reader.seen == list(range(1, expected.get(name, 0) + 1))
    truth.assert_kept(own_stack, accepted)


def all_seen(readers: dict[str, Reader], expected: dict[str, int]) -> Callable[[], bool]:
    """Whether every reader is where its inbox is."""
    return lambda: all(readers[name].last >= seq for name, seq in expected.items())
