"""What processes write, through good and bad times: every line JSON, with its fields, and nobody's payload in any."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api import Api
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

FIELDS = {"timestamp", "level", "logger", "event"}
MARK = "payload-that-no-line-may-tell"
EVENT = {"recipient": "alice", "type": "test", "title": MARK, "body": MARK, "data": {"of": MARK}}

BUGS = """
import os, threading, warnings, logging
os.environ["DJANGO_SETTINGS_MODULE"] = "notify_project.settings"
import django
django.setup()
warnings.warn("beware")
logging.getLogger("library").error("%d", "no number")
logging.getLogger("library").error("a word", exc_info=ValueError("its own"))
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
class Unraisable:
    def __del__(self):
        raise KeyError("gone")
Unraisable()
raise RuntimeError("a bug")
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A deployment for machines to read of."""
    told = {"NOTIFY_LOG_FORMAT": "json", "NOTIFY_LOG_LEVEL": "DEBUG", "NOTIFY_ACCESS_LOG": "true"}
    with Stack(tmp_path_factory.mktemp("stack"), shards=1, **told, NOTIFY_RETRY_DELAYS="0.1") as running:
        # A warning from Python itself, which is to be a line like any other.
        running.env["PYTHONWARNINGS"] = "default"
        running.start_worker()
        running.start_scheduler()
        running.start_bulk_worker()
        running.start_dlq_worker()
        running.start_web()
        yield running


def logs(stack: Stack) -> list[Path]:
    return sorted(stack.folder.glob("process-*.log"))


def lines(stack: Stack) -> list[dict[str, Any]]:
    """What all processes wrote."""
    return [json.loads(line) for log in logs(stack) for line in log.read_text().splitlines()]


def of(stack: Stack, action: str) -> list[dict[str, Any]]:
    return [line for line in lines(stack) if line["event"] == action]


def test_a_request_has_an_id_in_its_answer_and_in_its_line_and_a_line_tells_no_query(stack: Stack, api: Api) -> None:
    given = "01J-mine.7"
    answer = api.post("/api/notify", EVENT, **{"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == given
    (line,) = [line for line in of(stack, "request.answered") if line["request_id"] == given]
    assert (line["method"], line["route"], line["status"]) == ("POST", "/api/notify", 202)
    assert line["caller"].startswith("key:")
    assert 0 < line["ms"] < 60_000
    made = api.request(f"/api/notifications?recipient=alice&cursor={MARK}").headers["X-Request-ID"]
    (line,) = [line for line in of(stack, "request.answered") if line["request_id"] == made]
    assert (line["route"], line["status"]) == ("/api/notifications", 400)
    assert api.request(f"/nowhere/{MARK}").status_code == 404


@pytest.mark.parametrize("given", ["", "a b", 'a"b', "x" * 129, "ü".encode().decode("latin-1")])
def test_an_id_that_is_none_is_not_repeated(api: Api, given: str) -> None:
    answer = api._client.get("/healthz", headers=[(b"x-request-id", given.encode("latin-1"))])
    assert answer.headers["X-Request-ID"] != given
    assert len(answer.headers["X-Request-ID"]) == 32


def test_trouble_of_every_kind_is_lines_of_json_too(stack: Stack, api: Api) -> None:
    for fault in ({"invalid": True}, {"fail": -1}, {"fail": 1}):
        api.notify("alice", MARK, body=MARK, data={"fault": fault, "of": MARK})
    bad = api.post("/api/notify", {**EVENT, "surprise": MARK, "body": 7})
    assert bad.status_code == 400
    assert api._client.post("/api/notify", content=f"{MARK}\0".encode()).status_code in {400, 415}
    wait_until(lambda: len(of(stack, "event.dead")) >= 2, message="nothing is dead")
    stack.postgresql.stop()
    wait_until(lambda: of(stack, "process.outage"), message="nobody met the outage")
    asked = api.request("/api/notifications?recipient=alice")
    assert asked.status_code == 503
    # What a view logs, in another thread than the one that took the request.
    assert [line["request_id"] for line in of(stack, "api.unavailable")] == [asked.headers["X-Request-ID"]]
    stack.postgresql.start()
    wait_until(lambda: of(stack, "process.outage_over"), message="it is never over")
    wait_until(lambda: api.request("/api/notifications?recipient=alice").status_code == 200)


def test_a_row_that_postgresql_refuses_is_not_told_with_its_error(stack: Stack, api: Api) -> None:
    stack.sql("ALTER TABLE notifications_notification ADD CONSTRAINT no CHECK (title NOT LIKE 'refused%') NOT VALID")
    event_id = api.notify("bob", f"refused {MARK}", body=f"{MARK}\n{MARK}\n\nThe {MARK}")
    wait_until(lambda: [line for line in of(stack, "event.dead") if line["id"] == event_id], message="it is not dead")
    (line,) = [line for line in of(stack, "event.dead") if line["id"] == event_id]
    assert 'violates check constraint "no"' in line["error"]
    stack.sql("ALTER TABLE notifications_notification DROP CONSTRAINT no")


def test_a_bug_that_ends_a_process_is_a_line(stack: Stack) -> None:
    process = stack.start((sys.executable, "-c", BUGS))
    assert process.wait() == 1
    told = [json.loads(line) for line in process.log().splitlines()]
    assert [(line["event"], line["level"]) for line in told] == [
        ("<string>:6: UserWarning: beware\n", "warning"),
        ("log.failed", "error"),
        ("a word", "error"),
        ("process.uncaught", "critical"),
        ("process.uncaught", "critical"),
        ("process.crashed", "critical"),
    ]
    endings = [line["exception"].splitlines()[-1] for line in told if "exception" in line]
    assert endings == [
        "ValueError: its own",
        "ZeroDivisionError: division by zero",
        "KeyError: 'gone'",
        "RuntimeError: a bug",
    ]


def test_a_worker_that_is_killed_writes_no_half_line(stack: Stack, api: Api) -> None:
    worker = stack._processes[0]
    api.notify("alice", MARK, data={"fault": {"crash": True}, "of": MARK})
    assert worker.wait() == -9


def test_every_line_of_every_process_is_json_with_its_fields_and_without_a_payload(stack: Stack) -> None:
    """The last of the file, over all that was written."""
    assert len(logs(stack)) >= 6
    for log in logs(stack):
        for line in log.read_text().splitlines():
            told = json.loads(line)
            assert told.keys() >= FIELDS, line
            assert MARK not in line
