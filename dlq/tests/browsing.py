"""An operator at the dead letters' pages, for tests."""

import json
import re
import time
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import User
from django.db.models import F, Max
from django.test import Client

from dlq import deaths, records
from dlq.models import DeadLetter, Replay
from dlq.tests.letters import event, in_lane, letter, record
from notifications.events import Event
from notifications.stream.client import Shards

LETTERS = "/admin/dlq/deadletter/"
REPLAYS = "/admin/dlq/replay/"
MATCHING = f"{LETTERS}replay/"

Status = DeadLetter.Status

look_only = pytest.mark.one_shard_is_enough


def signed_in(name: str) -> Client:
    browser = Client()
    browser.force_login(User.objects.create_superuser(name))
    return browser


def now_ms(ago_seconds: float = 0) -> int:
    return int((time.time() - ago_seconds) * 1000)


def dead(
    recipient: str = "alice", *, ago: float = 60, reason: str = "invalid", error: str = "", **fields: Any
) -> DeadLetter:
    """A dead letter of so many seconds ago."""
    return record(event(recipient, **fields), failed_ms=now_ms(ago), reason=reason, error=error or "it is broken")


def die_again(one: DeadLetter, error: str = "still broken") -> None:
    """What the pipeline does with a replayed letter that fails again."""
    relived = msgspec.structs.replace(msgspec.json.decode(bytes(one.payload), type=Event), life=one.life + 1)
    records.record([deaths.death_of(letter(relived, failed_ms=now_ms(), error=error))])


def replayed(shards: Shards) -> list[str]:
    """Whose events wait in the lanes."""
    return sorted(found.recipient for lane in ("live", "bulk") for found in in_lane(shards, lane))


def page(browser: Client, address: str, status: int = 200) -> str:
    answer = browser.get(address)
    assert answer.status_code == status, address
    return answer.content.decode()


def post(browser: Client, address: str, **fields: Any) -> Any:
    """A POST, and the page to which it leads."""
    return browser.post(address, fields, follow=True)


def said(answer: Any) -> list[str]:
    """The messages of an answer."""
    return [str(message) for message in answer.context["messages"]]


def listed(browser: Client, query: str = "") -> set[str]:
    """The recipients in the list."""
    return {row.recipient for row in browser.get(LETTERS + query).context["cl"].result_list}


def act(browser: Client, action: str, *letters: DeadLetter, query: str = "", until: str = "") -> Any:
    """Tick letters in the list and run an action; on a list that is as old as `until`, or fresh."""
    fields = {"action": action, "index": 0, "until": until or shown_until(browser, query)}
    ticked = [one.pk for one in letters]
    return browser.post(LETTERS + query, {**fields, "_selected_action": ticked}, follow=True)


def shown_until(browser: Client, query: str = "") -> str:
    """What the form around the list carries."""
    return hidden(page(browser, LETTERS + query), "until") or "2026-01-01T00:00:00Z"


def hidden(shown: str, name: str) -> str:
    """The value of a hidden field on a page; empty where there is none."""
    found = re.search(rf'<input type="hidden" name="{name}" value="([^"]*)">', shown)
    return found[1] if found else ""


def press_replay(browser: Client, one: DeadLetter, life: int | None = None) -> Any:
    """Press “Replay” on a letter's page; on one that is as old as `life`, or fresh."""
    return post(browser, f"{LETTERS}{one.pk}/replay/", life=life_of(one) if life is None else life)


def press_discard(browser: Client, *letters: DeadLetter, until: object = None, confirmed: bool = True) -> Any:
    """Choose letters to be discarded, and answer the question."""
    until = until or DeadLetter.objects.aggregate(newest=Max("last_failed_at"))["newest"]
    moment = until.isoformat() if isinstance(until, datetime) else until
    answer = {"confirmed": "Discard"} if confirmed else {}
    return post(browser, LETTERS + "discard/", letter=[one.pk for one in letters], until=moment, **answer)


def life_of(one: DeadLetter) -> int:
    """The life of which a letter died last."""
    return DeadLetter.objects.values_list("life", flat=True).get(pk=one.pk)


def a_moment_passes() -> None:
    """The last orders were given longer ago than a double click takes."""
    Replay.objects.update(ordered_at=F("ordered_at") - timedelta(minutes=1))


def question(browser: Client, query: str = "") -> dict[str, str]:
    """What the page that asks before a replay of all that match carries in its form."""
    answer = browser.get(MATCHING + query)
    assert answer.status_code == 200
    return {"criteria": answer.context["criteria"], "canary": str(answer.context["canary"].pk)}


def fields_of(one: DeadLetter, **changed: str) -> dict[str, str]:
    """What a browser sends of the form, with some fields changed."""
    whole = msgspec.json.decode(bytes(one.payload))
    texts = {name: whole.get(name, "") for name in ("type", "title", "body")}
    return {**texts, "data": json.dumps(whole.get("data", {})), "life": str(life_of(one)), **changed}
