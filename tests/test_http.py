"""HTTP as a real server brings it: bodies without a stated length, which no test client sends."""

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.stack import Stack

pytestmark = pytest.mark.one_shard_is_enough

EVENT = json.dumps({"recipient": "alice", "type": "t", "title": "t"}).encode()


def chunks(*parts: bytes) -> Iterator[bytes]:
    """A body that httpx sends chunked, as it cannot know the length."""
    yield from parts


def post(stack: Stack, content: Iterator[bytes]) -> httpx.Response:
    headers = {"Authorization": f"Bearer {stack.api_key}", "Content-Type": "application/json"}
    return httpx.post(f"{stack.url}/api/notify", content=content, headers=headers, trust_env=False, timeout=30)


def test_a_chunked_body_is_taken_like_any_other(stack: Stack) -> None:
    answer = post(stack, chunks(EVENT[:10], EVENT[10:]))
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")


def test_a_chunked_body_that_is_too_large_is_refused_with_the_limit(stack: Stack) -> None:
    answer = post(stack, chunks(*[b" " * 64 * 1024] * 5))
    assert answer.status_code == 413
    assert str(256 * 1024) in answer.json()["detail"]
