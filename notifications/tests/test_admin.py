"""Django's admin: keys are managed, inboxes and notifications looked at."""

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from conftest import Caller
from notifications import store, wiring
from notifications.access import keys
from notifications.admin import inboxes
from notifications.events import Event
from notifications.models import ApiKey
from notifications.stream.client import Shards, connect

pytestmark = [pytest.mark.django_db, pytest.mark.one_shard_is_enough]

KEYS = "/admin/notifications/apikey/"
NOTIFICATIONS = "/admin/notifications/notification/"
INBOXES = "/admin/notifications/inbox/"
EVENT = {"recipient": "alice", "type": "t", "title": "t"}


@pytest.fixture
def staff() -> Client:
    """A superuser's browser."""
    browser = Client()
    browser.force_login(User.objects.create_superuser("ada"))
    return browser


@pytest.fixture
def redis_is_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on nobody answers at Redis' address."""
    nowhere = Shards(connect("unix:///nowhere/valkey.sock", timeout_seconds=1), 1)
    return lambda: monkeypatch.setattr(wiring, "shards", lambda: nowhere)


def save(browser: Client, path: str, **fields: Any) -> Any:
    return browser.post(path, {"name": "shop", "scopes": ["send"], "rate": "20/m", **fields})


def revoke(browser: Client, *rows: ApiKey) -> Any:
    fields = {"action": "revoke", "confirmed": "Revoke", "_selected_action": [row.pk for row in rows]}
    return browser.post(KEYS, fields, follow=True)


def secret_in(answer: Any) -> str:
    found = re.search(r"nk_[0-9A-Za-z]{38}", answer.content.decode())
    assert found, "no key is shown"
    return found.group()


def notify(secret: str) -> int:
    return int(Caller(secret).post("/api/notify", EVENT, content_type="application/json").status_code)


def errors_of(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 200
    return dict(answer.context["adminform"].form.errors)


def queries_of(browser: Client, path: str) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert browser.get(path).status_code == 200
    return [query["sql"] for query in captured.captured_queries]


def test_a_new_key_is_shown_once_and_works(staff: Client) -> None:
    answer = save(staff, f"{KEYS}add/")
    secret = secret_in(answer)
    assert "no-store" in answer.headers["Cache-Control"]
    assert notify(secret) == 202
    row = ApiKey.objects.get()
    assert (row.name, row.scopes, row.rate) == ("shop", ["send"], "20/m")
    for path in (KEYS, f"{KEYS}{row.pk}/change/", f"{KEYS}{row.pk}/history/", "/admin/"):
        assert secret not in staff.get(path).content.decode()
    assert secret not in str(staff.cookies), "a message would carry it"


def test_a_key_needs_a_name_a_scope_and_a_rate_that_can_be_read(staff: Client) -> None:
    assert errors_of(save(staff, f"{KEYS}add/", name="")).keys() == {"name"}
    assert errors_of(save(staff, f"{KEYS}add/", scopes=[])).keys() == {"scopes"}
    assert errors_of(save(staff, f"{KEYS}add/", scopes=["send", "root"])).keys() == {"scopes"}
    for rate in ("fast", "0/s", "1000", "10/s\n20/s", "1000/y"):
        assert errors_of(save(staff, f"{KEYS}add/", rate=rate)).keys() == {"rate"}
    assert not ApiKey.objects.exists()


def test_a_change_of_scopes_holds_from_the_next_request_on(staff: Client) -> None:
    row, secret = keys.create("shop", ["send"])
    assert notify(secret) == 202
    assert save(staff, f"{KEYS}{row.pk}/change/", scopes=["read"], rate="5/s").status_code == 302
    assert notify(secret) == 403
    grant = keys.find(secret)
    assert grant
    assert (grant.scopes, grant.rate) == (["read"], "5/s")


def test_revoking_asks_first_and_holds_at_once(staff: Client) -> None:
    row, secret = keys.create("shop")
    asked = staff.post(KEYS, {"action": "revoke", "_selected_action": [row.pk]})
    assert "cannot be undone" in asked.content.decode()
    assert notify(secret) == 202
    assert "is revoked" in revoke(staff, row).content.decode()
    assert notify(secret) == 401
    row.refresh_from_db()
    assert row.revoked_at


def test_a_revoked_key_can_be_looked_at_but_not_changed(staff: Client) -> None:
    row, secret = keys.create("shop")
    page = f"{KEYS}{row.pk}/change/"
    assert ">Revoke<" in staff.get(page).content.decode()
    keys.revoke(row)
    assert ">Revoke<" not in staff.get(page).content.decode()
    assert save(staff, page).status_code == 403
    assert "revoked already" in revoke(staff, row).content.decode()
    assert notify(secret) == 401


def test_a_change_that_overlaps_a_revocation_does_not_bring_the_key_back(
    staff: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, secret = keys.create("shop")
    # The form was read when the key was active; by the time it is saved, the key is revoked.
    full_clean = ApiKey.full_clean

    def revoke_meanwhile(self: ApiKey, *args: Any, **options: Any) -> None:
        full_clean(self, *args, **options)
        keys.revoke(ApiKey.objects.get(pk=row.pk))

    monkeypatch.setattr(ApiKey, "full_clean", revoke_meanwhile)
    save(staff, f"{KEYS}{row.pk}/change/")
    row.refresh_from_db()
    assert row.revoked_at
    assert notify(secret) == 401


def test_keys_are_never_deleted(staff: Client) -> None:
    row, _ = keys.create("shop")
    assert staff.post(f"{KEYS}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    staff.post(KEYS, {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
    assert ApiKey.objects.filter(pk=row.pk).exists()


def test_keys_are_found_by_name_prefix_and_state(staff: Client) -> None:
    shop, _ = keys.create("shop")
    bank, _ = keys.create("bank")
    keys.revoke(bank)

    def listed(query: str) -> set[ApiKey]:
        return set(staff.get(KEYS + query).context["cl"].result_list)

    assert listed("?q=sho") == listed(f"?q={shop.prefix}") == listed("?state=active") == {shop}
    assert listed("?state=revoked") == {bank}
    assert listed("") == {shop, bank}


def test_without_redis_nothing_is_half_done_and_the_page_says_so(
    staff: Client, redis_is_away: Callable[[], None]
) -> None:
    row, _ = keys.create("shop", ["send"])
    redis_is_away()
    for answer in (
        staff.post(f"{KEYS}add/", {"name": "new", "scopes": ["send"], "rate": "1/s"}, follow=True),
        staff.post(f"{KEYS}{row.pk}/change/", {"name": "new", "scopes": ["read"], "rate": "1/s"}, follow=True),
        revoke(staff, row),
    ):
        assert answer.status_code == 200
        assert "Redis does not answer" in answer.content.decode()
        assert "nk_" not in answer.content.decode().replace(row.prefix, "")
    unchanged = ApiKey.objects.get()
    assert (unchanged.name, unchanged.scopes, unchanged.revoked_at) == ("shop", ["send"], None)


@pytest.fixture
def three(make_event: Callable[..., Event]) -> list[Event]:
    """Two notifications of Alice's and one of Bob's."""
    batch = [make_event("alice", title="first"), make_event("bob/1"), make_event("alice", title="<b>last</b>")]
    store.store(batch)
    return batch


@pytest.mark.parametrize("page", [NOTIFICATIONS, INBOXES])
def test_nobody_adds_changes_or_deletes_what_came_through_the_pipeline(
    staff: Client, three: list[Event], page: str
) -> None:
    row = three[0].id if page == NOTIFICATIONS else "alice"
    assert staff.get(f"{page}{row}/change/").status_code == 200
    for path in (f"{page}add/", f"{page}{row}/change/", f"{page}{row}/delete/"):
        assert staff.post(path, {"post": "yes", "title": "forged", "unread": 0}).status_code == 403
    assert staff.post(page, {"action": "delete_selected", "_selected_action": [row]}).status_code in {200, 302}
    assert [state.unread for state in store.states(["alice", "bob/1"]).values()] == [2, 1]


def test_the_list_of_notifications_takes_four_queries_and_counts_no_table(
    staff: Client, three: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = queries_of(staff, NOTIFICATIONS)
    # The session and its user, the bounded count, the page.
    assert len(queries) == 4
    counts = [query for query in queries if "COUNT(" in query]
    assert len(counts) == 1
    assert f"LIMIT {inboxes.MOST_LISTED}" in counts[0]
    assert not any('"body"' in query or '"data"' in query for query in queries), "large columns are not listed"

    monkeypatch.setattr(inboxes, "MOST_LISTED", 2)
    assert staff.get(NOTIFICATIONS).context["cl"].result_count == 2


def test_notifications_are_found_by_exact_recipient_or_id_along_an_index(
    staff: Client, three: list[Event], make_event: Callable[..., Event]
) -> None:
    def found(query: str) -> list[str]:
        return [str(row.pk) for row in staff.get(f"{NOTIFICATIONS}?q={query}").context["cl"].result_list]

    first, bobs, last = (event.id for event in three)
    assert found("alice") == [last, first]
    assert found("bob/1") == found(bobs) == [bobs]
    assert found("ali") == found("bob") == []
    named_like_an_id = str(uuid.uuid4())
    event = make_event(named_like_an_id)
    store.store([event])
    assert found(named_like_an_id) == [event.id]
    assert staff.get(f"{NOTIFICATIONS}?body__contains=x").status_code == 400, "no look-ups by hand"


def test_a_notification_is_shown_as_text_with_its_times_and_data(staff: Client, three: list[Event]) -> None:
    page = staff.get(f"{NOTIFICATIONS}{three[2].id}/change/").content.decode()
    assert "&lt;b&gt;last&lt;/b&gt;" in page
    assert "<b>last" not in page
    assert "unread" in page
    assert "Save" not in page


def test_an_inbox_is_found_by_its_recipient(staff: Client, three: list[Event]) -> None:
    def found(query: str) -> list[tuple[str, int]]:
        rows = staff.get(f"{INBOXES}?q={query}").context["cl"].result_list
        return [(row.recipient, row.unread) for row in rows]

    assert found("alice") == [("alice", 2)]
    assert found("ali") == []
    assert found("") == [("alice", 2), ("bob/1", 1)]
