"""What leaves the inbox leaves it everywhere: for the API, for mirrors, for open sockets; with real processes."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api import Api
from tests.sockets import Socket
from tests.stack import Stack, wait_until
from tests.truth import assert_mirrors_agree, wait_for_rest

pytestmark = pytest.mark.one_shard_is_enough

# Accepted and stored three days ago: the id says so, too.
OLD = """
    INSERT INTO notifications_notification
        (id, recipient, seq, type, title, body, data, stored_at, attempts, source)
    SELECT (lpad(to_hex(ms), 12, '0') || '7000800000000000' || lpad(to_hex(n), 4, '0'))::uuid,
        %s, n, 'old', 'Old', '', '{}', to_timestamp(ms / 1000), 1, 0
    FROM generate_series(1, %s) AS n, (SELECT (extract(epoch FROM now()) * 1000)::bigint - 3 * 86400000 AS ms) AS past
"""
INBOX = "INSERT INTO notifications_inbox (recipient, seq, unread, version) VALUES (%s, %s, %s, 1)"


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A deployment that keeps notifications for a day, and whose sockets are told nothing by a heartbeat."""
    folder = tmp_path_factory.mktemp("keeping")
    with Stack(folder, NOTIFY_RETENTION_DAYS="1", NOTIFY_HEARTBEAT_SECONDS="60") as stack:
        stack.start_web()
        stack.start_worker()
        stack.start_dlq_worker()
        yield stack


@pytest.fixture
def api(keeping: Stack) -> Iterator[Api]:
    with Api(keeping) as client:
        yield client


def call(stack: Stack, method: str, path: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    return httpx.request(method, f"{stack.url}{path}", headers=headers, timeout=30, trust_env=False)


def test_a_scheduler_removes_what_is_old_and_an_open_page_knows_at_once(keeping: Stack, api: Api) -> None:
    keeping.sql(OLD, ["reader", 3])
    keeping.sql(INBOX, ["reader", 3, 3])
    with Socket(keeping.url, api.token("reader")) as page:
        assert (page.expect("hello")["unread"], api.get("/api/recipients/reader/unread")) == (3, {"unread": 3})
        scheduler = keeping.start_scheduler()
        frame = page.expect("sync", timeout=30)
        assert (frame["unread"], frame["seq"]) == (0, 3)
        api.notify("reader")
        assert page.expect("notification")["notification"]["seq"] == 4
        page.send(type="resume", after=1)
        assert [page.expect("notification")["notification"]["seq"], page.expect("resumed")["complete"]] == [4, True]
    assert api.get("/api/recipients/reader/unread") == {"unread": 1}
    assert_mirrors_agree(keeping)
    scheduler.terminate()
    assert scheduler.wait(12) == 0


def test_an_erased_recipient_is_gone_everywhere_while_events_are_under_way(keeping: Stack, api: Api) -> None:
    who = "to-erase-4711"
    api.notify_all([who] * 20)
    api.notify(who, data={"fault": {"invalid": True}})
    later = {"recipient": who, "type": "t", "title": "T", "delay": 3600}
    assert api.post("/api/schedule", later).status_code == 201
    wait_until(lambda: keeping.sql("SELECT 1 FROM dlq_deadletter WHERE recipient = %s", [who]), message="no letter")
    export = call(keeping, "GET", f"/api/recipients/{who}/export")
    kinds = [json.loads(line)["kind"] for line in export.text.splitlines()]
    assert (kinds[0], kinds[-1], kinds.count("notification")) == ("inbox", "end", 20)
    assert "dead_letter" in kinds
    # One that fails is on its way still: it is dropped when it is tried again.
    api.notify(who, data={"fault": {"fail": 1}})
    api.notify_all([who] * 10)
    erased: dict[str, Any] = call(keeping, "DELETE", f"/api/recipients/{who}").json()["erased"]
    assert (erased["schedules"], erased["dead_letters"]) == (1, 1)
    keeping.start_scheduler()
    wait_for_rest(keeping)
    api.notify(who, "After")
    wait_until(lambda: api.get(f"/api/recipients/{who}/unread") == {"unread": 1}, message="it never came")
    assert [row["title"] for row in api.get(f"/api/notifications?recipient={who}")["results"]] == ["After"]
    tables = keeping.sql("SELECT count(*) FROM dlq_deadletter WHERE recipient = %s", [who])
    tables += keeping.sql("SELECT count(*) FROM scheduler_schedule WHERE recipient = %s", [who])
    assert tables == [(0,), (0,)]
    assert who not in "".join(line for log in keeping.folder.glob("process-*.log") for line in log.read_text())
