"""Who gets the pages for staff, and what their headers let them do."""

import re

import msgspec
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import OperationalError
from django.middleware.security import SecurityMiddleware
from django.test import Client
from structlog.testing import capture_logs

from notifications.api.problems import log
from notifications.api.throttle import Throttled
from notify_project.views import content_security_policy

PAGES = {
    "/": "Flow",
    "/lives/": "Notifications",
    "/inbox/": "Inbox",
    "/dead-letters/": "Dead letters",
    "/processes/": "Processes",
}

pytestmark = [pytest.mark.django_db, pytest.mark.one_shard_is_enough]


def signed_in(*, staff: bool) -> Client:
    browser = Client()
    browser.force_login(User.objects.create_user("ada", is_staff=staff))
    return browser


def test_whoever_is_not_signed_in_is_asked_to_and_comes_back() -> None:
    answer = Client().get("/?recipient=alice")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/admin/login/?next=/%3Frecipient%3Dalice"


def test_whoever_is_not_staff_is_told_so_and_can_sign_in_as_somebody_else() -> None:
    answer = signed_in(staff=False).get("/")
    assert answer.status_code == 403
    page = answer.content.decode()
    assert "ada" in page
    assert 'href="/admin/login/?next=/"' in page


@pytest.mark.parametrize("address", PAGES)
def test_a_page_loads_nothing_from_elsewhere_and_runs_nothing_inline(address: str) -> None:
    answer = signed_in(staff=True).get(address, headers={"Host": "localhost:8123"})
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "connect-src 'self' ws://localhost:8123 wss://localhost:8123;" in policy
    assert "unsafe" not in policy
    page = answer.content.decode()
    assert "//" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "style=" not in page
    assert page.count("<script") == len(re.findall(r'<script( type="module")? src="/static/', page))


@pytest.mark.parametrize(("address", "name"), PAGES.items())
def test_the_way_to_every_page_is_on_every_page_and_says_which_is_shown(address: str, name: str) -> None:
    page = signed_in(staff=True).get(address).content.decode()
    assert [other for other in PAGES if f'href="{other}"' not in page] == []
    assert re.findall(r'aria-current="page">([^<]+)<', page) == [name]


@pytest.mark.parametrize("told", ["on", "off"])
def test_a_page_knows_whether_trouble_may_be_made_on_purpose(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configured = msgspec.structs.replace(settings.NOTIFY, fault_injection=told == "on")
    monkeypatch.setattr(settings, "NOTIFY", configured)
    page = signed_in(staff=True).get("/").content.decode()
    assert f'data-fault-injection="{told}"' in page


def test_a_policy_names_no_ipv6_address_which_browsers_would_refuse() -> None:
    assert "connect-src 'self';" in content_security_policy("[::1]:8000")


@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/admin/notifications/notification/", "/nothing"])
def test_the_admin_and_what_goes_wrong_are_under_the_same_policy(path: str) -> None:
    ada = Client(raise_request_exception=False)
    ada.force_login(User.objects.create_superuser("ada"))
    answer = ada.get(path)
    assert answer.headers["Content-Security-Policy"] == content_security_policy("testserver")
    page = answer.content.decode()
    assert "style=" not in page
    assert "<script>" not in page


def test_what_is_no_page_has_no_policy() -> None:
    assert "Content-Security-Policy" not in Client().get("/healthz").headers


def test_what_is_not_there_is_a_page_for_people() -> None:
    answer = Client(raise_request_exception=False).get("/nothing")
    assert answer.status_code == 404
    assert "There is nothing here" in answer.content.decode()


@pytest.mark.parametrize(("path", "error"), [("/", ValueError), ("/healthz", ValueError), ("/", OperationalError)])
def test_what_fails_is_a_page_for_people_and_a_line_in_the_log(
    path: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error("it broke")

    monkeypatch.setattr(Throttled, "warn", lambda _, **fields: log.warning("api.unavailable", **fields))
    monkeypatch.setattr(SecurityMiddleware, "process_request", fail)
    with capture_logs() as lines:
        answer = Client(raise_request_exception=False).get(path)
    assert answer.status_code == 500
    (told,) = lines
    assert (told["event"], told["path"]) == ("web.failed" if error is ValueError else "api.unavailable", path)
    assert "it broke" in repr(told["exc_info"] if error is ValueError else told["error"])
    assert "it broke" not in answer.content.decode()
