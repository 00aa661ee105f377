"""What a request leaves behind, under a server that takes one at a time (WSGI).

Over real processes it is in tests/test_logs.py.
"""

from typing import Any

import msgspec
import pytest
import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from structlog.testing import capture_logs

from conftest import Caller
from notify_project import asked

pytestmark = [pytest.mark.one_shard_is_enough, pytest.mark.django_db]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The lines of requests."""
    monkeypatch.setattr(settings, "NOTIFY", msgspec.structs.replace(settings.NOTIFY, access_log=True))
    monkeypatch.setattr(asked, "log", structlog.get_logger("tests"))
    with capture_logs() as lines:
        yield lines


def callers(lines: list[Any]) -> list[tuple[str | None, int, str | None]]:
    return [(line["route"], line["status"], line["caller"]) for line in lines if line["event"] == "request.answered"]


def test_a_line_tells_who_was_let_in_and_nobody_else(logged: list[Any], producer: Caller) -> None:
    producer.get("/api/notifications?recipient=alice")
    Client().get("/api/notifications?recipient=alice", headers={"Authorization": "Bearer nk_secret"})
    Client().get("/nowhere/secret?token=secret")
    route = "/api/notifications"
    (first, *others) = callers(logged)
    assert first[:2] == (route, 200)
    assert first[2] is not None
    assert first[2].startswith("key:")
    assert others == [(route, 401, None), (None, 404, None)]
    assert "secret" not in str(logged)


def test_a_page_tells_the_member_of_staff(logged: list[Any], client: Client) -> None:
    staff = User.objects.create_user("eve", is_staff=True)
    client.force_login(staff)
    assert client.get("/dashboard/history").status_code == 200
    assert callers(logged) == [("/dashboard/history", 200, f"staff:{staff.pk}")]


def test_one_requests_id_is_in_no_line_of_the_next() -> None:
    seen = []

    def view(_: HttpRequest) -> HttpResponse:
        seen.append(structlog.contextvars.get_contextvars())
        if len(seen) == 2:
            raise ValueError
        return HttpResponse()

    answer = asked.note(view)
    asking = RequestFactory().get("/", headers={"X-Request-ID": "mine"})
    assert answer(asking).headers["X-Request-ID"] == "mine"  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"^$"):
        answer(asking)
    assert seen == [{"request_id": "mine"}] * 2
    assert structlog.contextvars.get_contextvars() == {}
