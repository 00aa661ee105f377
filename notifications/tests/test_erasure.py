"""One recipient's all: handed out as it is, and erased so that nothing of it comes back."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import structlog
from asgiref.sync import async_to_sync
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import AsyncClient
from django.utils import timezone

from notifications import erasures, events, privacy, removal, retention, store, unread
from notifications.access import keys as access_keys
from notifications.events import Draft, Event, FailedAttempt
from notifications.live.announce import Announcer
from notifications.live.outbox import Outbox
from notifications.models import Attempt, Dropped, Inbox, Notification, Tally
from notifications.store import EMPTY, InboxState
from notifications.stream import keys
from notifications.stream.client import Shards
from notifications.stream.reader import Reader
from notifications.stream.writer import Writer
from notifications.worker import Worker
from tests.stack import wait_until

Make = Callable[..., Event]


@pytest.fixture
def announcer(shards: Shards) -> Announcer:
    return Announcer(shards, Outbox())


@pytest.fixture
def erase(announcer: Announcer) -> Callable[[str], dict[str, int]]:
    return lambda recipient: privacy.erase(recipient, announcer, "tests")


def rows(recipient: str) -> list[int]:
    return list(Notification.objects.filter(recipient=recipient).order_by("seq").values_list("seq", flat=True))


def records(lines: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def _somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


@pytest.mark.django_db
def test_an_erased_recipient_has_nothing_and_others_keep_theirs(make_event: Make, erase: Any, shards: Shards) -> None:
    failures = (FailedAttempt(at_ms=1, attempt=1, error="alice@example.org", delay_ms=1000),)
    store.store([make_event("alice", failures=failures), make_event("alice"), make_event("bob")])
    unread.look(shards, ["alice"])
    assert erase("alice") == {"notifications": 2, "schedules": 0, "dead_letters": 0}
    assert (rows("alice"), rows("bob"), Attempt.objects.count()) == ([], [1], 0)
    assert store.states(["alice"])["alice"]._replace(version=0) == InboxState(0, 0, 2)
    assert not shards.client.exists(keys.inbox(shards.of("alice"), "alice"))
    assert unread.look(shards, ["alice"])["alice"].unread == 0


@pytest.mark.django_db
def test_erasing_again_or_nobody_removes_nothing(make_event: Make, erase: Any) -> None:
    store.store([make_event("alice")])
    assert [erase(who)["notifications"] for who in ("alice", "alice", "nobody")] == [1, 0, 0]


@pytest.mark.django_db
def test_what_was_on_its_way_is_dropped_and_what_is_sent_later_arrives(make_event: Make, erase: Any) -> None:
    store.store([make_event("alice"), make_event("alice")])
    held, neighbour = make_event("alice"), make_event("bob")
    erase("alice")
    later = make_event("alice")
    stored = store.store([held, neighbour, later])
    assert [(row.event.id, row.seq) for row in stored.rows] == [(neighbour.id, 1), (later.id, 3)]
    assert stored.inboxes["alice"].unread == 1
    assert rows("alice") == [3]
    assert store.store([held]).rows == []
    assert [str(pk) for pk in Dropped.objects.values_list("pk", flat=True)] == [held.id]


@pytest.mark.django_db
def test_a_worker_drops_what_waits_in_the_lane_and_its_neighbours_are_stored(
    make_event: Make, erase: Any, shards: Shards, announcer: Announcer, make_writer: Callable[..., Writer]
) -> None:
    batch = [make_event("alice"), make_event("bob"), make_event("alice")]
    make_writer().add(batch)
    erase("alice")
    duty = Worker(shards, Reader(shards, "worker-1", batch_size=1000, claim_idle_ms=10_000), announcer)
    client: Any = shards.client
    while any(client.xlen(keys.lane(shard, "live")) for shard in shards.each()):
        duty.step()
    assert (rows("alice"), rows("bob")) == ([], [1])
    assert not any(client.hlen(keys.inflight(shard)) for shard in shards.each())


@pytest.mark.django_db
def test_a_bulk_job_counts_what_was_dropped_once_each(make_event: Make, erase: Any) -> None:
    job_id = events.new_id("")
    template = events.template(Draft(recipient="alice", type="news", title="News"), job_id)
    alice, bob = events.copies(template, ["alice", "bob"])
    store.store([alice])
    erase("alice")
    for _ in range(2):
        store.store([alice, bob])
    # One for Alice's row, which is gone, one for Bob's.
    assert [tally.stored for tally in Tally.objects.all()] == [1, 1]
    other = events.copies(events.template(Draft(recipient="x", type="news", title="N"), events.new_id("")), ["carol"])
    erase("carol")
    for _ in range(2):
        store.store(other)
    assert [tally.stored for tally in Tally.objects.filter(source_id=UUID(other[0].source_id))] == [1]


@pytest.mark.django_db
def test_a_row_that_is_delivered_again_before_it_is_removed_is_counted_no_second_time(
    make_event: Make, erase: Any
) -> None:
    template = events.template(Draft(recipient="alice", type="news", title="News"), events.new_id(""))
    batch = events.copies(template, ["alice"])
    store.store(batch)
    erasures.mark("alice")
    store.store(batch)
    erase("alice")
    store.store(batch)
    assert [tally.stored for tally in Tally.objects.all()] == [1]


@pytest.mark.django_db
def test_an_erasure_that_is_killed_in_the_middle_is_completed_by_the_next(
    make_event: Make, erase: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy, "AT_ONCE", 2)
    store.store([make_event("alice") for _ in range(5)])
    remove, calls = removal.remove, iter(range(10))

    def once(*arguments: Any, **named: Any) -> int:
        if next(calls):
            raise KeyboardInterrupt
        return remove(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(removal, "remove", once)
        with pytest.raises(KeyboardInterrupt):
            erase("alice")
    assert (rows("alice"), Inbox.objects.get().unread) == ([3, 4, 5], 3)
    assert erase("alice")["notifications"] == 3
    assert (rows("alice"), Inbox.objects.get().unread) == ([], 0)


@pytest.mark.django_db(transaction=True)
def test_a_worker_in_the_middle_of_storing_is_waited_for(make_event: Make, announcer: Announcer) -> None:
    storing, erasing = threading.Event(), threading.Event()
    batch = [make_event("alice")]

    def slowly() -> None:
        with transaction.atomic():
            store.store(batch)
            storing.set()
            erasing.wait(10)
        connection.close()

    worker = threading.Thread(target=slowly)
    worker.start()
    assert storing.wait(10)

    def erase() -> None:
        privacy.erase("alice", announcer, "tests")
        connection.close()

    eraser = threading.Thread(target=erase)
    eraser.start()
    wait_until(_somebody_waits_for_a_lock, message="the eraser never met the worker")
    erasing.set()
    for thread in (worker, eraser):
        thread.join(20)
        assert not thread.is_alive()
    assert rows("alice") == []
    assert Inbox.objects.get().unread == 0


@pytest.mark.django_db
def test_the_line_that_is_left_goes_later_unless_the_recipient_came_back(
    make_event: Make, erase: Any, shards: Shards, announcer: Announcer
) -> None:
    for recipient in ("alice", "back", "just"):
        store.store([make_event(recipient)])
        erase(recipient)
    store.store([make_event("back")])
    unread.look(shards, ["alice"])
    long_ago = round((timezone.now() - timedelta(days=31)).timestamp() * 1000)
    Inbox.objects.exclude(recipient="just").update(erased_ms=long_ago)
    Dropped.objects.create(pk=UUID(int=1), at=timezone.now() - timedelta(days=31))
    assert retention.forget_erased(shards, announcer) == 2
    assert set(Inbox.objects.values_list("recipient", flat=True)) == {"back", "just"}
    assert set(erasures.marked().values_list("recipient", flat=True)) == {"just"}
    assert (retention.forget_erased(shards, announcer), retention.forget_dropped()) == (0, 1)
    assert not Dropped.objects.exists()
    assert unread.look(shards, ["alice"])["alice"] == EMPTY
    announcer.stored(store.store([make_event("alice")]))
    assert unread.look(shards, ["alice"])["alice"] == InboxState(1, 1, 1)


@pytest.mark.django_db
def test_the_line_stays_while_a_bulk_job_may_still_bring_the_recipient_along(
    make_event: Make, erase: Any, shards: Shards, announcer: Announcer
) -> None:
    store.store([make_event("alice")])
    erase("alice")
    then = timezone.now() - timedelta(days=60)
    Inbox.objects.update(erased_ms=round((then + timedelta(days=1)).timestamp() * 1000))
    jobs: Any = apps.get_model("bulk", "BulkJob")
    jobs.objects.create(pk=events.new_id(""), status=3, payload=b"", created_at=then, received_at=then, start_at=then)
    assert retention.forget_erased(shards, announcer) == 0
    jobs.objects.update(finished_at=timezone.now())
    assert retention.forget_erased(shards, announcer) == 1


@pytest.mark.django_db
def test_logs_name_a_digest_and_not_the_recipient(make_event: Make, erase: Any) -> None:
    store.store([make_event("alice-4711")])
    with structlog.testing.capture_logs() as logs:
        erase("alice-4711")
        list(privacy.export("alice-4711", "tests"))
    assert [entry["event"] for entry in logs] == ["privacy.erased", "privacy.exported"]
    assert {entry["recipient_digest"] for entry in logs} == {privacy.digest("alice-4711")}
    assert "4711" not in str(logs)


@pytest.mark.django_db
def test_an_export_has_every_notification_with_its_life_and_says_that_it_is_complete(
    make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy, "PAGE", 2)
    failures = (FailedAttempt(at_ms=1_800_000_000_000, attempt=1, error="no", delay_ms=1000),)
    batch = [make_event("alice", title=f"T{number}", failures=failures[:number]) for number in range(5)]
    store.store([*batch, make_event("bob")])
    first, *found, last = records(b"".join(privacy.export("alice", "tests")))
    assert (first["kind"], first["recipient"], first["unread"], first["seq"]) == ("inbox", "alice", 5, 5)
    assert [(each["kind"], each["id"], each["seq"]) for each in found] == [
        ("notification", event.id, seq) for seq, event in enumerate(batch, 1)
    ]
    assert [len(each["failures"]) for each in found] == [0, 1, 1, 1, 1]
    assert found[1]["failures"][0]["error"] == "no"
    assert last == {"kind": "end", "records": 6}


@pytest.mark.django_db
def test_over_the_api_with_the_scope_manage(producer: Any, caller_with: Any, make_event: Make) -> None:
    store.store([make_event("r/1")])
    narrow = caller_with("read", "send")
    assert narrow.get("/api/recipients/r/1/export").status_code == 403
    assert narrow.delete("/api/recipients/r/1").status_code == 403
    answer = producer.get("/api/recipients/r/1/export")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/x-ndjson")
    assert [each["kind"] for each in records(b"".join(answer.streaming_content))] == ["inbox", "notification", "end"]
    answer = producer.delete("/api/recipients/r/1")
    assert (answer.status_code, answer.json()["erased"]["notifications"]) == (200, 1)
    assert producer.delete("/api/recipients/r/1").json()["erased"]["notifications"] == 0
    assert producer.delete("/api/recipients/a b").status_code == 400


@pytest.mark.django_db(transaction=True)
def test_an_asgi_server_is_given_the_export_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    pulled: list[int] = []

    def export(*_: object) -> Iterator[bytes]:
        for number in range(3):
            pulled.append(number)
            yield b"%d\n" % number

    async def ask(token: str) -> tuple[list[int], list[bytes]]:
        headers = {"Authorization": f"Bearer {token}"}
        answer: Any = await AsyncClient().get("/api/recipients/alice/export", headers=headers)
        return list(pulled), [block async for block in answer]

    monkeypatch.setattr(privacy, "export", export)
    _, token = access_keys.create("tests")
    assert async_to_sync(ask)(token) == ([0], [b"0\n", b"1\n", b"2\n"])


@pytest.mark.django_db
def test_the_commands_do_the_same(make_event: Make, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    store.store([make_event("alice")])
    monkeypatch.setattr("notifications.process.single_connection", lambda: None)
    call_command("export_recipient", "alice")
    assert [each["kind"] for each in records(capsys.readouterr().out.encode())] == ["inbox", "notification", "end"]
    monkeypatch.setattr("builtins.input", lambda _question: "somebody else")
    with pytest.raises(CommandError, match="nothing was erased"):
        call_command("erase_recipient", "alice")
    assert rows("alice") == [1]
    call_command("erase_recipient", "alice", "--yes")
    assert capsys.readouterr().out == "1 notifications, 0 schedules, 0 dead letters erased\n"
    assert rows("alice") == []


def test_an_id_that_is_no_uuid_is_never_taken_for_an_old_one() -> None:
    assert not erasures.is_erased("what is this", 2**62)
    assert not erasures.is_erased(events.new_id("alice"), None)
    assert erasures.is_erased(events.new_id("alice"), 2**62)
