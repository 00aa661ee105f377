"""What browsers are told to keep us from, page by page; and what production adds to it."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest

from notify_project.local.children import PROJECT, manage
from notify_project.views import content_security_policy
from tests.authorization import Callers, World
from tests.stack import clean_environment
from tests.test_authorization import API, admin_rows, rows

pytestmark = [
    pytest.mark.one_shard_is_enough,
    pytest.mark.filterwarnings("ignore:The HMAC key"),
]

PAGES: Final = [
    *(pattern for method, pattern, expected in rows(API) if (method, expected["staff"]) == ("GET", 200)),
    *(pattern for pattern, expected in admin_rows() if expected[4] == 200),
    "/no-such-page",
    "/admin/no-such-page",
]
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
LOADS: Final = {"src", "href", "action", "formaction", "poster", "data", "srcset", "manifest", "ping", "background"}
PRODUCTION: Final = {
    "DATABASE_URL": "postgresql://x/y",
    "REDIS_URL": "redis://x",
    "SECRET_KEY": "".join(f"{number:02x}" for number in range(40, 72)),
    "ALLOWED_HOSTS": "notify.example.org,.internal.example.org",
    "NOTIFY_HTTPS": "1",
    "NOTIFY_TRUSTED_PROXIES": "10.0.0.7",
}
ASK: Final = """
import json, sys
import django
django.setup()
from django.conf import settings
from django.test import Client
def ask(path, **extra):
    answer = Client().get(path, HTTP_HOST="notify.example.org", **extra)
    cookies = {
        name: [bool(one["secure"]), bool(one["httponly"]), one["samesite"]] for name, one in answer.cookies.items()
    }
    return [answer.status_code, dict(answer.headers), cookies]
told = {"HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_FOR": "198.51.100.1"}
print(json.dumps({
    "plain": ask("/admin/login/"),
    "stranger": ask("/admin/login/", REMOTE_ADDR="203.0.113.9", **told),
    "proxy": ask("/admin/login/", REMOTE_ADDR="10.0.0.7", **told),
    "probe": ask("/healthz"),
    "session": [settings.SESSION_COOKIE_SECURE, settings.SESSION_COOKIE_HTTPONLY, settings.SESSION_COOKIE_SAMESITE],
    "origins": settings.CSRF_TRUSTED_ORIGINS,
}))
"""


class Page(HTMLParser):
    """What a page loads or leads to, and what in it a strict policy would keep from running."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [value or "" for name, value in attrs if name in LOADS]
        self.inline += [f"{tag} {name}" for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given and given.get("type") != "application/json"):
            self.inline.append(tag)


def is_ours(address: str) -> bool:
    """Whether an address in a page stays with its own server."""
    return not re.match(r"(?i)^\s*([a-z][a-z0-9+.-]*:|[/\\]{2})", address) or address.startswith("data:image/")


@pytest.mark.django_db
def test_every_page_and_every_answer_says_what_browsers_may_do_with_it() -> None:
    callers, world = Callers.all(), World()
    pages = 0
    for pattern in PAGES:
        answer = callers["root"].get(world.address(pattern))
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, pattern
        assert "no-store" in answer.headers["Cache-Control"], pattern
        if answer.headers["Content-Type"].startswith("text/html"):
            pages += 1
            assert answer.headers["Content-Security-Policy"] == content_security_policy("testserver"), pattern
            assert "camera=()" in answer.headers["Permissions-Policy"]
            page = Page(answer.content.decode())
            assert page.inline == [], pattern
            assert [address for address in page.addresses if not is_ours(address)] == [], pattern
    assert pages > 40


@pytest.mark.parametrize("address", ["https://a/", "//a/", "/\\a", "javascript:x", " HTTP://a", "data:text/html,x"])
def test_what_is_not_ours_is_told_from_what_is(address: str) -> None:
    assert not is_ours(address)
    assert is_ours("/static/a.js")
    assert is_ours("?page=2")


def test_no_style_and_no_script_of_ours_loads_anything_from_elsewhere() -> None:
    outside = re.compile(
        rb"""url\(\s*["']?(?:https?:)?//|@import\s+["'](?:https?:)?//|(?:from|import)\s*\(?\s*["'](?:https?:)?//"""
    )
    looked_at = [path for path in _static_files() if path.suffix in {".css", ".js", ".svg"}]
    assert len(looked_at) > 20
    assert [path.name for path in looked_at if outside.search(path.read_bytes())] == []


def test_with_production_settings_django_finds_nothing_to_mend() -> None:
    done = run(manage("check", "--deploy", "--fail-level", "WARNING"))
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout + done.stderr


def test_under_https_browsers_come_by_https_alone_and_cookies_go_no_other_way() -> None:
    done = run((sys.executable, "-c", ASK), DJANGO_SETTINGS_MODULE="notify_project.settings")
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    for who in ("plain", "stranger"):
        status, headers, _ = said[who]
        assert (status, headers["Location"]) == (301, "https://notify.example.org/admin/login/"), who
    status, headers, cookies = said["proxy"]
    assert (status, headers["Strict-Transport-Security"]) == (200, "max-age=31536000")
    assert cookies == {"csrftoken": [True, False, "Lax"]}
    assert said["session"] == [True, True, "Lax"]
    assert said["probe"][0] == 200
    assert said["origins"] == ["https://notify.example.org", "https://*.internal.example.org"]


def run(command: tuple[str, ...], **variables: str) -> subprocess.CompletedProcess[str]:
    """A command with production's settings."""
    environment = clean_environment(**PRODUCTION, **variables)
    return subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def _static_files() -> list[Path]:
    return [path for path in (PROJECT / "notify_project" / "static").rglob("*") if path.is_file()]
