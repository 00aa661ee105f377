"""Wrong passwords at several web processes: each counts what the others saw."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import httpx
import pytest

from tests.dashboards import COOKIE, LOGIN
from tests.stack import ADMIN_PASSWORD, ADMIN_USER, Stack

pytestmark = pytest.mark.one_shard_is_enough

LIMIT: Final = 3
CSRF: Final = "c" * 32


@pytest.fixture(scope="module")
def webs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The addresses of two web processes of one deployment."""
    with Stack(tmp_path_factory.mktemp("stack"), NOTIFY_SIGN_IN_FAILURES=str(LIMIT)) as stack:
        stack.start_web()
        first = stack.url
        stack.start_web()
        yield first, stack.url


def sign_in(web: str, password: str, user: str = ADMIN_USER) -> httpx.Response:
    typed = {"username": user, "password": password, "csrfmiddlewaretoken": CSRF}
    return httpx.post(f"{web}{LOGIN}", data=typed, cookies={"csrftoken": CSRF}, trust_env=False, timeout=30)


def test_what_one_process_saw_counts_at_the_other(webs: tuple[str, str]) -> None:
    assert sign_in(webs[0], ADMIN_PASSWORD).status_code == 302
    assert [sign_in(webs[number % 2], "wrong").status_code for number in range(LIMIT)] == [200, 200, 429]
    for web in webs:
        refused = sign_in(web, ADMIN_PASSWORD)
        assert (refused.status_code, refused.cookies.get(COOKIE)) == (429, None)
        assert 0 < int(refused.headers["Retry-After"]) <= 900
        assert refused.headers["Content-Security-Policy"]
        assert "Too many wrong passwords" in refused.text


def test_what_is_tried_at_once_gets_no_further_than_there_are_processes(webs: tuple[str, str]) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: sign_in(webs[number % 2], "wrong", "somebody").status_code, range(20)))
    assert set(answers) == {200, 429}
    assert answers.count(200) < LIMIT + len(webs)
