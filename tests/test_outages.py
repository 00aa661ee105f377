"""Servers that are away: nobody's failure. No attempt is spent, no letter written, and work goes on by itself."""

import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from notifications.stream import keys
from notify_project.local.valkey import Valkey
from tests import truth
from tests.api import Api
from tests.handles import ServerHandle
from tests.proxy import Proxy
from tests.stack import Process, Stack, wait_until
from tests.test_faults import producing

# How long servers are away. The longer form, for a report: OUTAGE_SECONDS=60 pytest tests/test_outages.py
OUTAGE_SECONDS = float(os.environ.get("OUTAGE_SECONDS", "8"))
RETURN_SECONDS = 5
REFUSAL_SECONDS = 3
# What a loaded machine may add to a figure that is the product's.
SLACK_SECONDS = 10
PATIENCE_SECONDS = OUTAGE_SECONDS + 60

RECIPIENTS = [f"r{number}" for number in range(20)]


def one_line_a_change(process: Process, outages: int) -> bool:
    """Whether each duty of a process said the beginning and the end of each outage that it met once; no traceback."""
    log = process.log()
    began, over = (Counter(re.findall(rf"{action} .*duty=(\w+)", log)) for action in ("outage", "outage_over"))
    return began == over and all(times <= outages for times in began.values()) and "Traceback" not in log


def flows_again(stack: Stack) -> float:
    """How long from now until a further row is stored, in seconds."""
    begun, before = time.monotonic(), truth.rows(stack)
    wait_until(lambda: truth.rows(stack) > before, RETURN_SECONDS + SLACK_SECONDS, "nothing is stored")
    return time.monotonic() - begun


@contextmanager
def probing(api: Api, answers: list[tuple[float, httpx.Response]]) -> Iterator[None]:
    """Ask for a notification from time to time; how long each answer took, in seconds, and the answer."""
    over = threading.Event()

    def probe() -> None:
        while not over.wait(1):
            begun = time.monotonic()
            answer = api.post("/api/notify", {"recipient": "probe", "type": "test", "title": "A title"})
            answers.append((time.monotonic() - begun, answer))

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.one_shard_is_enough
@pytest.mark.timeout(2 * PATIENCE_SECONDS + 120)
def test_postgresql_down_then_redis_frozen_under_load_spends_no_attempt(own_stack: Stack) -> None:
    """PostgreSQL stopped, back, then Redis stopped dead for half as long, with producers all the while."""
    own_stack.env["NOTIFY_CLAIM_IDLE_SECONDS"] = "5"
    own_stack.start_web()
    worker = own_stack.start_worker()
    background = [own_stack.start_worker(), own_stack.start_scheduler(), own_stack.start_dlq_worker()]
    accepted: list[str] = []
    refusals: list[tuple[float, httpx.Response]] = []
    with Api(own_stack) as api, Api(own_stack) as other, producing(api, RECIPIENTS, accepted):
        wait_until(lambda: truth.rows(own_stack) > 20, message="nothing is stored")
        own_stack.postgresql.stop()
        time.sleep(OUTAGE_SECONDS)
        own_stack.postgresql.start()
        after_postgresql = flows_again(own_stack)
        # Though it was away for longer than an entry may be silent: who holds a batch goes on saying so.
        assert not any("worker.claimed" in process.log() for process in (worker, background[0]))
        own_stack.valkey.freeze()
        with probing(other, refusals):
            time.sleep(OUTAGE_SECONDS / 2)
        own_stack.valkey.thaw()
        after_valkey = flows_again(own_stack)
    truth.wait_for_rest(own_stack)
    slowest = max(seconds for seconds, _ in refusals)
    print(f"PostgreSQL down for {OUTAGE_SECONDS} s: stored again after {after_postgresql:.2f} s")
    print(
        f"Redis frozen for {OUTAGE_SECONDS / 2} s: stored again after {after_valkey:.2f} s; slowest 503 {slowest:.2f} s"
    )
    assert {answer.status_code for _, answer in refusals} == {503}
    assert all(int(answer.headers["Retry-After"]) > 0 for _, answer in refusals)
    assert slowest < REFUSAL_SECONDS + SLACK_SECONDS
    assert max(after_postgresql, after_valkey) < RETURN_SECONDS + SLACK_SECONDS
    assert own_stack.sql("SELECT DISTINCT attempts FROM notifications_notification") == [(1,)]
    assert own_stack.sql("SELECT count(*) FROM dlq_deadletter") == [(0,)]
    assert all(process.returncode is None for process in (worker, *background))
    assert "process.outage " in worker.log()
    for process in (worker, *background):
        # The scheduler fires, which takes Redis, and records, which takes both.
        wait_until(lambda one=process: one_line_a_change(one, outages=3), message=process.tail())  # type: ignore[misc]
    # What was refused while Redis stood still was not taken up when it went on. The one request that was under way when
    # it stopped may have been carried out and its answer not sent: its producer knows neither.
    stored = {str(row_id) for (row_id,) in own_stack.sql("SELECT id FROM notifications_notification")}
    assert len(stored - set(accepted)) <= 1
    truth.assert_kept(own_stack, stored | set(accepted))


@pytest.mark.one_shard_is_enough
@pytest.mark.not_on_a_cluster("it has fail-overs of its own")
def test_a_redis_that_became_read_only_is_waited_for(own_stack: Stack) -> None:
    """As in a fail-over, between the old primary's demotion and the new one's address."""
    own_stack.start_web()
    processes = [own_stack.start_worker(), own_stack.start_scheduler(), own_stack.start_dlq_worker()]
    with Api(own_stack) as api:
        accepted = [api.notify("alice")]
        truth.wait_for_rest(own_stack)
        own_stack.redis().replicaof("127.0.0.1", "1")
        wait_until(lambda: "process.outage " in processes[0].log(), message="the worker never noticed")
        answer = api.post("/api/notify", {"recipient": "alice", "type": "t", "title": "t"})
        assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
        own_stack.redis().replicaof("NO", "ONE")
        accepted.append(api.notify("alice"))
        truth.wait_for_rest(own_stack)
        for process in processes:
            wait_until(lambda one=process: one_line_a_change(one, outages=1), message=process.tail())  # type: ignore[misc]
    truth.assert_kept(own_stack, accepted)


@pytest.mark.one_shard_is_enough
@pytest.mark.not_on_a_cluster("it has fail-overs of its own")
def test_after_a_fail_over_work_goes_on_at_the_new_primary(own_stack: Stack, tmp_path: Path) -> None:
    """The old primary is a replica by now and keeps its connections; only the address leads elsewhere."""
    primary = ServerHandle(Valkey(tmp_path / "new"))
    primary.start()
    try:
        with Proxy(socket_of(own_stack.valkey.url)) as proxy:
            own_stack.env["REDIS_URL"] = f"redis://127.0.0.1:{proxy.port}/0"
            own_stack.start_web()
            processes = [own_stack.start_worker(), own_stack.start_scheduler(), own_stack.start_dlq_worker()]
            with Api(own_stack) as api:
                api.notify("alice")
                truth.wait_for_rest(own_stack)
                proxy.target = socket_of(primary.url)
                own_stack.redis().replicaof("127.0.0.1", "1")
                wait_until(accepts(api, []), message="the web stayed with the old one")
                wait_until(lambda: truth.rows(own_stack) == 2, message="the worker stayed with the old one")
            assert all(process.returncode is None for process in processes)
    finally:
        primary.stop()
        primary.remove()


@pytest.mark.one_shard_is_enough
def test_a_redis_that_is_full_is_emptied_by_the_workers(own_stack: Stack) -> None:
    """What was accepted is stored, what failed is a letter, every mirror is right; only the door is shut."""
    own_stack.env["NOTIFY_RETRY_DELAYS"] = "0.1"
    own_stack.start_web()
    before = [own_stack.start_worker(), own_stack.start_dlq_worker()]
    wait_until(lambda: made_groups(own_stack), message="they never began")
    for process in before:
        process.kill()
    with Api(own_stack) as api:
        api.get("/api/recipients/alice/unread")
        accepted = api.notify_all(["alice"] * 500)
        for fault in ({"fail": 1}, {"invalid": True}):
            api.notify("alice", data={"fault": fault})
        own_stack.redis().config_set("maxmemory", "1mb")
        assert api.post("/api/notify", {"recipient": "alice", "type": "t", "title": "t"}).status_code == 503
        processes = [own_stack.start_worker(), own_stack.start_dlq_worker()]
        wait_until(lambda: truth.rows(own_stack) >= len(accepted), message="a full Redis stayed full")
        wait_until(lambda: dead(own_stack) == 1, message="its dead letters were not recorded")
        own_stack.redis().config_set("maxmemory", "0")
        processes.append(own_stack.start_scheduler())
        truth.wait_for_rest(own_stack)
        assert api.get("/api/recipients/alice/unread") == {"unread": len(accepted) + 1}
    assert all(process.returncode is None for process in processes)


@pytest.mark.one_shard_is_enough
@pytest.mark.not_on_a_cluster("it has fail-overs of its own")
def test_connections_that_were_lost_without_a_word_are_given_up_and_made_anew(own_stack: Stack) -> None:
    with Proxy(socket_of(own_stack.valkey.url)) as proxy:
        own_stack.env["REDIS_URL"] = f"redis://127.0.0.1:{proxy.port}/0"
        own_stack.start_web()
        processes = [own_stack.start_worker(), own_stack.start_scheduler(), own_stack.start_dlq_worker()]
        with Api(own_stack) as api:
            accepted = [api.notify("alice")]
            truth.wait_for_rest(own_stack)
            assert proxy.forget() > 0
            wait_until(accepts(api, accepted), message="the web found Redis no more")
            truth.wait_for_rest(own_stack)
            assert all(process.returncode is None for process in processes)
            assert not any("Traceback" in process.log() for process in processes)
    truth.assert_kept(own_stack, accepted)


@pytest.mark.one_shard_is_enough
def test_every_process_works_on_after_a_flushed_redis(own_stack: Stack) -> None:
    own_stack.env["NOTIFY_RETRY_DELAYS"] = "0.1"
    own_stack.start_web()
    processes = [own_stack.start_worker(), own_stack.start_scheduler(), own_stack.start_dlq_worker()]
    with Api(own_stack) as api:
        for expected in (1, 2):
            for fault in ({"fail": 1}, {"invalid": True}):
                api.notify("alice", data={"fault": fault})
            wait_until(lambda n=expected: truth.rows(own_stack) == n, message="it was not stored")  # type: ignore[misc]
            wait_until(lambda n=expected: dead(own_stack) == n, message="it is no letter")  # type: ignore[misc]
            own_stack.redis().flushall()
    assert all(process.returncode is None for process in processes)
    assert not any("Traceback" in process.log() for process in processes)


def made_groups(stack: Stack) -> bool:
    """Whether workers and recorders have made their groups."""
    client: Any = stack.redis()
    streams = [keys.lane(0, "live"), keys.lane(0, "bulk"), keys.dead_letters(0)]
    return all(client.exists(stream) and client.xinfo_groups(stream) for stream in streams)


def socket_of(url: str) -> Path:
    """The Unix socket in an address of the private Valkey."""
    assert url.startswith("unix://"), f"{Valkey.__name__} is reached by {url}"
    return Path(url.removeprefix("unix://").partition("?")[0])


def accepts(api: Api, accepted: list[str]) -> Callable[[], bool]:
    """Whether a notification is accepted; it is noted then."""

    def accept() -> bool:
        answer = api.post("/api/notify", {"recipient": "alice", "type": "test", "title": "A title"})
        if answer.status_code == 202:
            accepted.append(answer.json()["id"])
        return answer.status_code == 202

    return accept


def dead(stack: Stack) -> int:
    """Recorded dead letters."""
    count: int = stack.sql("SELECT count(*) FROM dlq_deadletter")[0][0]
    return count


@pytest.mark.one_shard_is_enough
@pytest.mark.parametrize("server", ["postgresql", "valkey"])
def test_a_worker_stops_in_time_though_a_server_stands_still(own_stack: Stack, server: str) -> None:
    """A statement that is under way waits for its answer, whatever signal comes: nothing of it may be lost."""
    own_stack.start_web()
    with Api(own_stack) as api:
        accepted = api.notify_all(["alice"] * 5000)
    worker = own_stack.start_worker()
    wait_until(lambda: truth.rows(own_stack) > 0, message="it never began")
    frozen = getattr(own_stack, server)
    frozen.freeze()
    try:
        worker.terminate()
        assert worker.wait(10 + SLACK_SECONDS) == 0
    finally:
        frozen.thaw()
    own_stack.start_worker()
    truth.wait_for_rest(own_stack)
    truth.assert_kept(own_stack, accepted)


BUSY_FOR_EVER = """
import hashlib, django
django.setup()
from notifications import process
class Busy:
    def step(self):
        print("busy", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
    def beat(self): ...
    def stop(self): print("gave back", flush=True)
process.run("busy", Busy())
"""


@pytest.mark.one_shard_is_enough
def test_a_process_stops_in_time_though_no_signal_handler_gets_to_run(own_stack: Stack) -> None:
    """Python calls handlers between two of its own instructions; a name look-up, say, is one that may take a minute."""
    own_stack.env["DJANGO_SETTINGS_MODULE"] = "notify_project.settings"
    busy = own_stack.start([sys.executable, "-c", BUSY_FOR_EVER])
    wait_until(lambda: "busy" in busy.log(), message="it never began")
    busy.terminate()
    assert busy.wait(10 + SLACK_SECONDS) == 0
    assert "gave back" in busy.log()


@pytest.mark.one_shard_is_enough
def test_a_web_stops_in_time_though_a_request_waits_for_a_server_that_stands_still(own_stack: Stack) -> None:
    web = own_stack.start_web()
    with Api(own_stack) as api, Api(own_stack) as other:
        api.get("/api/notifications?recipient=alice")
        own_stack.postgresql.freeze()
        waiting = threading.Thread(target=ask_in_vain, args=(api,))
        waiting.start()
        try:
            # Whatever was sent before these was taken up before them.
            for _ in range(3):
                other.get("/healthz")
            web.terminate()
            assert web.wait(10 + SLACK_SECONDS) == 0
        finally:
            own_stack.postgresql.thaw()
            waiting.join()
        assert "web.cut_short" in web.log(), "it waited for nothing: this showed nothing"


def ask_in_vain(api: Api) -> None:
    """A request that ends with its server."""
    with pytest.raises(httpx.HTTPError):
        api.request("/api/notifications?recipient=alice")
