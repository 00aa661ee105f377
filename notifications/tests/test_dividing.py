"""The migration that divides the table of notifications: forward with what is in it, and back."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import IntegrityError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from notifications import events, partitions, store
from notifications.events import Event
from notifications.models import Notification

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_shard_is_enough]

WHOLE, DIVIDED = "0006_erased_index", "0007_partitions"
STRANGE = "f36e9f0a-5f0e-4a3c-9d58-0123456789ab"


def migrate(to: str) -> None:
    MigrationExecutor(connection).migrate([("notifications", to)])


def where() -> dict[str, str]:
    """Each row's table."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id::text, tableoid::regclass::text FROM notifications_notification")
        return {row_id: name.removeprefix(partitions.TABLE) for row_id, name in cursor.fetchall()}


@pytest.fixture
def whole() -> Iterator[None]:
    """The table as it was; and afterwards one that was divided when it was empty."""
    migrate(WHOLE)
    yield
    Notification.objects.all().delete()
    migrate(WHOLE)
    migrate(DIVIDED)


@pytest.mark.parametrize("strange", [False, True])
def test_what_is_there_stays_and_what_comes_goes_where_it_belongs(
    whole: None, make_event: Callable[..., Event], *, strange: bool
) -> None:
    long_ago = round((timezone.now() - timedelta(days=400)).timestamp() * 1000)
    batch = [make_event("alice"), make_event("bob", id=events.derived_id("bob", long_ago))]
    batch += [make_event("carol", id=STRANGE)] if strange else []
    store.store(batch)
    migrate(DIVIDED)
    assert where() == {event.id: "_default" if event.id == STRANGE else "_before" for event in batch}
    # One that comes again is known, whichever table it is in.
    assert sorted(row.seq for row in store.store([*batch, make_event("alice")]).rows) == [1] * len(batch) + [2]
    following = partitions.every()[1]
    store.store([make_event("dave", id=str(following.first))])
    assert where()[str(following.first)] == following.name.removeprefix(partitions.TABLE)
    rows = list(Notification.objects.order_by("pk").values())
    migrate(WHOLE)
    assert list(Notification.objects.order_by("pk").values()) == rows
    with pytest.raises(IntegrityError):
        Notification.objects.filter(recipient="alice").update(seq=1)


def test_an_attempt_that_broke_off_is_done_again(whole: None, make_event: Callable[..., Event]) -> None:
    store.store([make_event("alice")])
    bound = UUID(int=2**127)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE INDEX notifications_notification_before_stored ON notifications_notification (stored_at)"
        )
        cursor.execute(
            "ALTER TABLE notifications_notification ADD CONSTRAINT notification_before CHECK (id < %s) NOT VALID",
            [bound],
        )
    migrate(DIVIDED)
    store.store([make_event("alice", id=STRANGE)])
    assert sorted(where().values()) == ["_before", "_default"]
