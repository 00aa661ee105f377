"""Signing in: how often, from where, what is told of it, and where it leads."""

from typing import Any, Final

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from structlog.testing import capture_logs

from notify_project.configuration import networks
from notify_project.sign_in import IPV6_PREFIX, address
from tests.authorization import HANDLER

pytestmark = [pytest.mark.django_db, pytest.mark.one_shard_is_enough]

LOGIN: Final = "/admin/login/"
RIGHT, WRONG = "the right one, and long", "hunter2-the-wrong-one"
LIMIT: Final = 5
HOME: Final = "192.0.2.7"


@pytest.fixture(autouse=True)
def _ada(settings: Any) -> None:
    # What takes long on purpose is not what is tested here.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    User.objects.create_superuser("ada", password=RIGHT)


def sign_in(password: str, source: str = HOME, user: str = "ada", path: str = LOGIN, **headers: str) -> Any:
    browser = Client(headers=headers)
    browser.handler = HANDLER
    browser.cookies[settings.CSRF_COOKIE_NAME] = token = "c" * 32
    typed = {"username": user, "password": password, "csrfmiddlewaretoken": token}
    return browser.post(path, typed, REMOTE_ADDR=source)


def fail(times: int, source: str = HOME, **headers: str) -> list[int]:
    return [sign_in(WRONG, source, **headers).status_code for _ in range(times)]


def test_whoever_types_wrong_passwords_has_to_wait_even_with_the_right_one() -> None:
    assert fail(LIMIT) == [200] * (LIMIT - 1) + [429]
    answer = sign_in(RIGHT)
    assert answer.status_code == 429
    assert 880 < int(answer.headers["Retry-After"]) <= 900
    page = answer.content.decode()
    assert "in 15 minutes" in page
    assert answer.headers["Content-Security-Policy"]
    assert settings.SESSION_COOKIE_NAME not in answer.cookies


def test_the_same_user_signs_in_from_elsewhere_and_another_from_here() -> None:
    User.objects.create_superuser("grace", password=RIGHT)
    fail(LIMIT)
    assert sign_in(RIGHT, "192.0.2.8").status_code == 302
    assert sign_in(RIGHT, user="grace").status_code == 302


def test_another_browser_is_no_other_address() -> None:
    for number in range(LIMIT):
        fail(1, **{"User-Agent": f"browser {number}"})
    assert sign_in(RIGHT).status_code == 429


def test_the_right_password_in_time_is_the_end_of_the_count() -> None:
    for _ in range(2):
        fail(LIMIT - 1)
        assert sign_in(RIGHT).status_code == 302
    assert not AccessAttempt.objects.exists()


def test_the_pause_ends_however_often_somebody_tries_meanwhile(settings: Any) -> None:
    fail(LIMIT)
    before = AccessAttempt.objects.get().attempt_time
    fail(3)
    attempt = AccessAttempt.objects.get()
    assert (attempt.attempt_time, attempt.failures_since_start) == (before, LIMIT)
    attempt.attempt_time -= settings.AXES_COOLOFF_TIME
    attempt.save()
    assert sign_in(RIGHT).status_code == 302


def test_what_a_stranger_says_of_proxies_is_no_other_address() -> None:
    for number in range(LIMIT):
        fail(1, **{"X-Forwarded-For": f"198.51.100.{number}"})
    assert sign_in(RIGHT, **{"X-Forwarded-For": "198.51.100.99"}).status_code == 429


def test_behind_a_trusted_proxy_each_client_is_counted_alone(settings: Any) -> None:
    proxy = "10.0.0.7"
    settings.NOTIFY_TRUSTED_PROXIES = networks("trusted_proxies", proxy)
    assert fail(LIMIT, proxy, **{"X-Forwarded-For": "198.51.100.1"})[-1] == 429
    assert sign_in(RIGHT, proxy, **{"X-Forwarded-For": "198.51.100.2"}).status_code == 302
    assert sign_in(RIGHT, proxy, **{"X-Forwarded-For": "198.51.100.2, 198.51.100.1"}).status_code == 429


@pytest.mark.parametrize(
    ("source", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("", None),
        ("unix", None),
    ],
)
def test_an_address_is_one_of_ipv4_or_a_network_of_ipv6(source: str, counted: str | None, rf: Any) -> None:
    assert IPV6_PREFIX == 64
    assert address(rf.post(LOGIN, REMOTE_ADDR=source)) == counted


def test_a_failure_is_told_with_who_and_whence_and_never_with_what_was_typed() -> None:
    with capture_logs() as lines:
        fail(1)
        sign_in(WRONG, user="a password in the wrong field")
        fail(LIMIT - 1)
    told = [line for line in lines if line["event"] == "sign_in.failed"]
    assert [(line["user"], line["address"], line["paused"]) for line in told[:2]] == [
        ("ada", HOME, False),
        (None, HOME, False),
    ]
    assert told[-1]["paused"] is True
    assert WRONG not in str(lines)
    assert "wrong field" not in str(lines)


def test_what_is_kept_of_a_failure_has_no_password_in_it() -> None:
    sign_in(WRONG)
    kept = AccessAttempt.objects.values().get()
    assert WRONG not in str(kept)
    assert "c" * 32 not in str(kept)


@pytest.mark.parametrize("header", ["User-Agent", "Accept"])
def test_a_header_that_postgresql_does_not_take_is_no_way_around(header: str) -> None:
    assert fail(LIMIT, **{header: "a\0b"})[-1] == 429


@pytest.mark.parametrize(
    "there",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "http:evil.example",
        "http:///evil.example",
        "javascript:alert(1)",
        "https://testserver@evil.example/",
        "https://testserver.evil.example/",
        "/%0d%0aLocation:%20https://evil.example/",
        "\x00//evil.example",
        " //evil.example",
        "\t//evil.example",
    ],
)
def test_signing_in_leads_nowhere_else(there: str) -> None:
    for path, user in ((LOGIN, "ada"), ("/admin/logout/", "ada")):
        browser = Client()
        browser.force_login(User.objects.get(username=user))
        browser.handler = HANDLER
        browser.cookies[settings.CSRF_COOKIE_NAME] = token = "c" * 32
        typed = {"username": user, "password": RIGHT, "csrfmiddlewaretoken": token, "next": there}
        answers = [browser.get(path, {"next": there}), browser.post(path, typed)]
        for answer in answers:
            location = answer.headers.get("Location", "/")
            assert location.startswith("/"), (path, location)
            assert not location.startswith(("//", "/\\")), (path, location)
            assert "\n" not in location
