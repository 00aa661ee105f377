"""An operator at the schedules' pages, for tests."""

import re
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from notifications import wiring
from notifications.stream import keys
from notifications.stream.client import Shards, connect
from notifications.stream.clock import ServerClock
from notifications.stream.schedules import Schedules
from scheduler import door
from scheduler.admin.editing import as_typed
from scheduler.admin.pages import version_of
from scheduler.schedule import Schedule

look_only = pytest.mark.one_shard_is_enough

SCHEDULES = "/admin/scheduler/schedule/"
ADD = f"{SCHEDULES}add/"

FORM = {
    "recipient": "alice",
    "type": "report.due",
    "title": "Report",
    "body": "",
    "data": "",
    "when": "daily",
    "at": "",
    "delay": "",
    "daily": "08:00",
    "cron": "",
    "timezone": "Europe/Berlin",
    "catch_up": "once",
}


def signed_in(name: str) -> Client:
    """A superuser's browser."""
    browser = Client()
    browser.force_login(User.objects.create_superuser(name))
    return browser


def allowed_to(*actions: str) -> Client:
    """The browser of somebody who may do so much with schedules, and no more: `view`, `add`, `change`, `delete`."""
    user = User.objects.create_user("-".join(("eve", *actions)), is_staff=True)
    names = [f"{action}_schedule" for action in actions]
    user.user_permissions.set(Permission.objects.filter(codename__in=names, content_type__app_label="scheduler"))
    browser = Client()
    browser.force_login(user)
    return browser


def page_of(schedule: Schedule | str, name: str = "change") -> str:
    """The address of one of a schedule's pages."""
    return f"{SCHEDULES}{schedule if isinstance(schedule, str) else schedule.id}/{name}/"


def shown(browser: Client, address: str, status: int = 200) -> str:
    """A page's HTML."""
    answer = browser.get(address)
    assert answer.status_code == status, address
    return answer.content.decode()


def filled(**fields: str) -> dict[str, str]:
    """What a browser sends of the form for a new schedule, each with a token of its own."""
    return FORM | {"token": secrets.token_hex(16)} | fields


def edited(known: Schedule, **fields: str) -> dict[str, str]:
    """What a browser sends of the form of a schedule as it was when it was shown, with some fields changed."""
    return {**FORM, "daily": "", **as_typed(known), "version": str(version_of(known)), **fields}


def post(browser: Client, address: str, fields: dict[str, str]) -> Any:
    """A POST, and the page to which it leads."""
    return browser.post(address, fields, follow=True)


def add(browser: Client, **fields: str) -> str:
    """Make a schedule by the form; its id."""
    answer = browser.post(ADD, filled(**fields))
    assert answer.status_code == 302, errors_in(answer)
    return id_in(answer)


def id_in(answer: Any) -> str:
    """The id in the address to which an answer leads."""
    return str(answer["Location"]).removeprefix(SCHEDULES).partition("/")[0]


def errors_in(answer: Any) -> dict[str, list[str]]:
    """The sentences at each field of the form."""
    return {field: list(sentences) for field, sentences in answer.context["form"].errors.items()}


def said(answer: Any) -> list[str]:
    """The messages of an answer."""
    return [str(message) for message in answer.context["messages"]]


def listed(browser: Client, query: str = "") -> list[str]:
    """The recipients in the list, in its order."""
    return [row.recipient for row in browser.get(SCHEDULES + query).context["cl"].result_list]


def hidden(page: str, name: str) -> str:
    """The value of a hidden field on a page; empty where there is none."""
    found = re.search(rf'<input type="hidden" name="{name}" value="([^"]*)">', page)
    return found[1] if found else ""


def known(schedule_id: Schedule | str) -> Schedule:
    """A schedule as it is now."""
    return door.look(uuid.UUID(schedule_id if isinstance(schedule_id, str) else schedule_id.id))


def made() -> int:
    """How many schedules there are in Redis."""
    client: Any = wiring.shards().client
    return sum(client.hlen(keys.schedules(shard)) for shard in wiring.shards().each())


def edit_elsewhere(one: Schedule, **fields: object) -> None:
    """Somebody else's change, over the API."""
    door.change(uuid.UUID(one.id), msgspec.json.encode(fields))


@contextmanager
def redis_is_away() -> Iterator[None]:
    """Nobody answers at Redis' address."""
    nowhere = Shards(connect("unix:///nowhere/valkey.sock", timeout_seconds=1), 1)
    schedules = Schedules(nowhere, ServerClock(nowhere.client), patience_ms=1000)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(wiring, "schedules", lambda: schedules)
        patched.setattr(wiring, "shards", lambda: nowhere)
        yield
