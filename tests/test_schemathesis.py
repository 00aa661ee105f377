"""Requests of all kinds, right and wrong, against the real processes: no 500, and no answer that is not documented.

schemathesis makes them of the API's description. What it makes is the same in every run.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from notify_project.local.children import PROJECT
from tests import schemathesis_hooks
from tests.api import Api
from tests.documented import STRICT
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

# For a long look: NOTIFY_EXAMPLES=500.
EXAMPLES: Final = os.environ.get("NOTIFY_EXAMPLES", "5")
OF_EACH: Final = 20
EVENT: Final = {"recipient": "alice", "type": "test", "title": "A title"}
COMMAND: Final = (sys.executable, "-m", "schemathesis.cli", "run")
OPTIONS: Final = {
    "--max-examples": EXAMPLES,
    "--phases": "examples,coverage,fuzzing,stateful",
    # What fits the description may be refused for what no description can say: a cursor that was no page's, two bodies
    # with the same key.
    "--exclude-checks": "positive_data_acceptance",
    "--seed": "8",
    "--generation-database": "none",
    "--warnings": "off",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        stack.start_web()
        stack.start_worker()
        stack.start_bulk_worker()
        stack.start_scheduler()
        stack.start_dlq_worker()
        yield stack


def something_of_all(stack: Stack) -> dict[str, list[str]]:
    """Make some of everything that has an id; their ids, by the parameter of paths that takes them."""
    bulk = {"recipients": ["alice"], "notification": {"type": "test", "title": "A title"}, "delay": 3600}
    with Api(stack) as api:
        made = {
            "event_id": api.notify_all(["alice"] * OF_EACH),
            "letter_id": [api.notify("alice", data={"fault": {"invalid": True}}) for _ in range(OF_EACH)],
            "schedule_id": [_id(api, "/api/schedule", {**EVENT, "daily": "08:30"}) for _ in range(OF_EACH)],
            "job_id": [_id(api, "/api/bulk", bulk) for _ in range(OF_EACH)],
        }
        wait_until(lambda: len(api.get("/api/dlq?limit=100")["results"]) == OF_EACH, message="too few dead letters")
    return made


def _id(api: Api, path: str, body: dict[str, Any]) -> str:
    answer = api.post(path, body)
    assert answer.is_success, answer.text
    made: str = answer.json()["id"]
    return made


# It takes half a minute, and several where much else runs.
@pytest.mark.timeout(600)
def test_whatever_is_asked_is_answered_as_is_said(stack: Stack, tmp_path: Path) -> None:
    description, there = tmp_path / "description.json", tmp_path / "there.json"
    description.write_text(json.dumps(STRICT))
    there.write_text(json.dumps(something_of_all(stack)))
    options = [*(word for option in OPTIONS.items() for word in option), "--no-color"]
    done = subprocess.run(
        [*COMMAND, description, "--url", stack.url, "-H", f"Authorization: Bearer {stack.api_key}", *options],
        env={
            **stack.env,
            "PYTHONPATH": str(PROJECT),
            "SCHEMATHESIS_HOOKS": schemathesis_hooks.__name__,
            schemathesis_hooks.THERE: str(there),
        },
        # It keeps a cache where it is started.
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
