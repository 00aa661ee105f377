"""`manage.py bulk` as an operator meets it: a file, a job, an exit code."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from notify_project.local.children import manage
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

# Whoever starts the tests in the background has Ctrl-C ignored in all that they start.
HEEDING_CTRL_C = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope="module")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers, a worker and a bulk worker; dead letters are recorded. No web: the command needs none."""
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        stack.start_worker()
        stack.start_bulk_worker()
        stack.start_dlq_worker()
        yield stack


def rows(stack: Stack, job_id: str) -> list[str]:
    query = "SELECT recipient FROM notifications_notification WHERE source_id = %s ORDER BY recipient"
    return [recipient for (recipient,) in stack.sql(query, [job_id])]


def test_everybody_in_a_file_gets_it_and_the_command_waits_for_that(at_work: Stack, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text("alice\nbob\nno id\nalice\n")
    done = at_work.manage("bulk", str(file), "--title", "Hello", "--data", '{"a": 1}')
    job_id = done.stdout.strip()
    assert rows(at_work, job_id) == ["alice", "bob"]
    assert "2 recipients, 1 named again, 1 left out" in done.stderr
    assert "line 3: must be 1 to 128 characters" in done.stderr
    assert "done: 2 stored, 0 failed" in done.stderr


def test_a_csv_and_an_ndjson_are_read_by_their_columns(at_work: Stack, tmp_path: Path) -> None:
    table, lines = tmp_path / "list.csv", tmp_path / "list.ndjson"
    table.write_text("name,user_id\nAlice,c1\nBob,c2\n")
    lines.write_text('{"who": "n1"}\n"n2"\n')
    assert rows(at_work, at_work.manage("bulk", str(table), "--title", "T").stdout.strip()) == ["c1", "c2"]
    sent = at_work.manage("bulk", str(lines), "--column", "who", "--title", "T").stdout.strip()
    assert rows(at_work, sent) == ["n1", "n2"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.txt", "--title", "T"), "No such file"),
        (("empty.txt", "--title", "T"), "must name at least one recipient"),
        (("bad.txt", "--title", "T", "--strict"), "Nothing was started."),
        (("good.txt", "--title", ""), "/title: must be 1 to 200 characters"),
        (("good.txt", "--title", "T", "--data", "[1]"), "/data: must be a JSON object"),
        (("good.txt", "--title", "T", "--data", "{"), "--data must be a JSON object"),
        (("good.txt", "--title", "T", "--rate", "fast"), "/rate: must be a number and a unit of time"),
        (("good.csv", "--title", "T", "--column", "who"), "no column who"),
    ],
)
def test_what_cannot_be_is_one_line_and_starts_nothing(
    at_work: Stack, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    for name, content in {"empty": "\n", "bad": "alice\nno id\n", "good": "alice\n"}.items():
        (tmp_path / f"{name}.txt").write_text(content)
    (tmp_path / "good.csv").write_text("id,name\nalice,A\n")
    before = at_work.sql("SELECT count(*) FROM bulk_bulkjob")
    file, *options = arguments
    failed = at_work.manage("bulk", str(tmp_path / file), *options, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert words in failed.stderr
    assert "Traceback" not in failed.stderr
    assert at_work.sql("SELECT count(*) FROM bulk_bulkjob") == before


def test_what_failed_makes_the_command_fail(at_work: Stack, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text("alice\nbob\n")
    failed = at_work.manage("bulk", str(file), "--title", "T", "--data", '{"fault": {"invalid": true}}', check=False)
    assert failed.returncode == 1
    assert "done: 0 stored, 2 failed" in failed.stderr


def test_who_detaches_or_interrupts_leaves_the_job_to_go_on(at_work: Stack, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text("".join(f"slow-{number}\n" for number in range(40)))
    options = ("--title", "T", "--rate", "20/s")
    at_work.manage("bulk", str(file), *options, "--detach")
    following = at_work.start([sys.executable, "-c", HEEDING_CTRL_C, *manage("bulk", str(file), *options)])
    wait_until(lambda: "40 recipients" in following.log(), message="never began")
    following.interrupt()
    assert following.wait(20) == 130
    assert "the job goes on without you" in following.log()
    both_done = "SELECT count(*) = 2 FROM bulk_bulkjob WHERE total = 40 AND status = 5 AND stored = 40"
    wait_until(lambda: at_work.sql(both_done) == [(True,)], message="they did not go on")
