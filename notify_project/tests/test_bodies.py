"""Large bodies under Daphne: they arrive whole, and memory does not grow with them."""

import socket
import threading
from collections.abc import Iterator
from typing import Self
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.stack import Process, Stack, wait_until

pytestmark = pytest.mark.one_shard_is_enough

MEGABYTE = 1024 * 1024
HEAD = b'{"type": "news", "title": "A title"}\n'
# Twisted keeps smaller bodies in memory, and hands on larger ones in a file.
IN_MEMORY_BELOW = 100_000
BLOCK = 64 * 1024
SAMPLE_SECONDS = 0.01


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Process]]:
    """A web, which is Daphne's."""
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack, stack.start_web()


def post(stack: Stack, body: bytes | Iterator[bytes]) -> httpx.Response:
    headers = {"Authorization": f"Bearer {stack.api_key}", "Content-Type": "application/x-ndjson"}
    return httpx.post(f"{stack.url}/api/bulk", content=body, headers=headers, timeout=120, trust_env=False)


def body_of(size: int) -> tuple[bytes, int]:
    """A list of so many bytes, and how many recipients are in it, each named once."""
    lines = [b"%015d" % number for number in range((size - len(HEAD)) // 16)]
    return (HEAD + b"\n".join(lines)).ljust(size, b"\n"), len(lines)


@pytest.mark.parametrize("around", [IN_MEMORY_BELOW, 2 * BLOCK, 5 * MEGABYTE])
def test_a_body_of_any_size_arrives_whole(around: int, web: tuple[Stack, Process]) -> None:
    stack, _ = web
    for size in (around - 1, around, around + 1):
        body, recipients = body_of(size)
        answer = post(stack, body)
        assert (answer.status_code, answer.json()["total"], answer.json()["duplicates"]) == (202, recipients, 0)


@pytest.mark.parametrize("size", [1000, IN_MEMORY_BELOW, MEGABYTE])
def test_a_body_of_unknown_length_arrives_whole(size: int, web: tuple[Stack, Process]) -> None:
    stack, _ = web
    body, recipients = body_of(size)
    answer = post(stack, (body[start : start + 10_000] for start in range(0, size, 10_000)))
    assert (answer.status_code, answer.json()["total"]) == (202, recipients)


def test_memory_does_not_grow_with_a_body(web: tuple[Stack, Process]) -> None:
    stack, process = web
    post(stack, body_of(5 * MEGABYTE)[0])
    body = HEAD + (b"%0127d\n" % 7 + b"%0127d\n" % 8) * (60 * MEGABYTE // 256)
    with Peak(process.pid) as peak:
        answer = post(stack, body)
    assert (answer.status_code, answer.json()["total"]) == (202, 2)
    assert peak.growth < 40 * MEGABYTE, f"{peak.growth / MEGABYTE:.0f} MiB"


def test_a_client_that_leaves_over_a_large_body_starts_nothing_and_others_are_answered(
    web: tuple[Stack, Process],
) -> None:
    stack, process = web
    jobs = stack.sql("SELECT count(*) FROM bulk_bulkjob")
    files = psutil.Process(process.pid).num_fds()
    address = urlsplit(stack.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as client:
        client.sendall(
            b"POST /api/bulk HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n"
            b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n" % (stack.api_key.encode(), 3 * MEGABYTE)
        )
        client.sendall(body_of(2 * MEGABYTE)[0])
    assert httpx.get(f"{stack.url}/healthz", trust_env=False).status_code == 200
    wait_until(lambda: psutil.Process(process.pid).num_fds() <= files, message="the half of a body is still open")
    assert stack.sql("SELECT count(*) FROM bulk_bulkjob") == jobs
    assert post(stack, body_of(MEGABYTE)[0]).status_code == 202


class Peak(threading.Thread):
    """By how many bytes a process' memory grew at most, looked at again and again."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self._process = psutil.Process(pid)
        self._before = self._process.memory_info().rss
        self._over = threading.Event()
        self.growth = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self.growth = max(self.growth, self._process.memory_info().rss - self._before)
