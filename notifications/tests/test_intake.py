"""The one door in: once, or not at all."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from notifications import events, intake, wiring
from notifications.exceptions import BacklogFull, IdempotencyConflict, Invalid, Unavailable
from notifications.stream import keys, scripts
from notifications.stream.client import Shards
from notifications.stream.once import Once
from notifications.stream.writer import Writer

ENDPOINT = "/api/notify"


def document(recipient: str = "alice", title: str = "t") -> bytes:
    return json.dumps({"recipient": recipient, "type": "t", "title": title}).encode()


def batch(*recipients: str) -> bytes:
    return json.dumps({"notifications": [json.loads(document(recipient)) for recipient in recipients]}).encode()


def once(body: bytes, key: str = "a-key", caller: str = "key:1") -> Once:
    return intake.idempotency(caller, key, ENDPOINT, body)


def waiting(shards: Shards) -> list[events.Event]:
    client: Any = shards.client
    return [
        events.decode(fields[b"event"])
        for shard in shards.each()
        for _, fields in client.xrange(keys.lane(shard, "live"))
    ]


def test_an_accepted_event_waits_in_its_recipients_shard_and_is_known_to_be_queued(shards: Shards) -> None:
    event_id = json.loads(intake.accept_one(document()).body)["id"]
    assert [event.id for event in waiting(shards)] == [event_id]
    shard = shards.of("alice")
    assert shards.client.xlen(keys.lane(shard, "live")) == 1
    assert shards.of_id(event_id) == shard
    state: Any = shards.client.hget(keys.inflight(shard), event_id)
    assert state.startswith(b"queued live ")
    assert shards.client.hget(keys.counters(shard), "accepted") == b"1"


def test_the_same_key_and_body_give_the_first_answer_and_one_event(shards: Shards) -> None:
    first = intake.accept_one(document(), once(document()))
    second = intake.accept_one(document(), once(document()))
    assert (first.replayed, second.replayed) == (False, True)
    assert first.body == second.body
    assert len(waiting(shards)) == 1


def test_the_same_key_with_another_body_is_a_conflict_even_for_a_recipient_in_another_shard(
    shards: Shards, two_shards_apart: tuple[str, str]
) -> None:
    one, other = two_shards_apart
    intake.accept_one(document(one), once(document(one)))
    for changed in (document(one, title="changed"), document(other)):
        with pytest.raises(IdempotencyConflict):
            intake.accept_one(changed, once(changed))
    assert len(waiting(shards)) == 1


def test_a_key_is_its_callers_own(shards: Shards) -> None:
    for caller in ("key:1", "key:2"):
        assert not intake.accept_one(document(), once(document(), caller=caller)).replayed
    assert len(waiting(shards)) == 2


def test_fifty_requests_at_once_with_one_key_are_one_event(shards: Shards, two_shards_apart: tuple[str, str]) -> None:
    body = batch(*two_shards_apart)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: intake.accept_batch(body, once(body)).body, range(50)))
    assert len(set(answers)) == 1
    assert sorted(event.recipient for event in waiting(shards)) == sorted(two_shards_apart)


def test_a_batch_that_was_begun_and_not_ended_goes_on_under_the_same_ids(
    shards: Shards, two_shards_apart: tuple[str, str], make_writer: Callable[..., Writer]
) -> None:
    """What a process leaves that dies after the reservation, or between two shards."""
    body = batch(*two_shards_apart)
    first_ids = [events.new_id(recipient) for recipient in two_shards_apart]
    begun = intake.BatchAnswer(2, 0, [intake.Accepted(event_id) for event_id in first_ids])
    reserved = once(body)
    home = shards.of(f"{reserved.caller}:{reserved.digest}")
    answer = events._encoder.encode(begun)
    scripts.run(shards.client, "reserve", [reserved.key(home)], [reserved.fingerprint, answer, 60])
    make_writer().add([events.accept(events.parse(document(two_shards_apart[0])), first_ids[0])])

    again = intake.accept_batch(body, once(body))
    if shards.count > 1:
        assert [result["id"] for result in json.loads(again.body)["results"]] == first_ids
        assert sorted(event.id for event in waiting(shards)) == sorted(first_ids)
    assert again.replayed
    assert intake.accept_batch(body, once(body)).body == again.body


def test_the_record_of_a_key_lives_as_long_as_the_setting_says(shards: Shards) -> None:
    intake.accept_one(document(), once(document()))
    (record,) = list(shards.client.scan_iter("notify:*:once:*"))
    assert 0 < shards.client.ttl(record) <= 24 * 3600


def accepted(*recipients: str) -> list[events.Event]:
    return [events.accept(events.parse(document(recipient)), events.new_id(recipient)) for recipient in recipients]


@pytest.mark.parametrize("key", [None, "a-key"])
def test_a_full_backlog_refuses_all_of_a_batch_and_leaves_nothing_behind(
    shards: Shards, two_shards_apart: tuple[str, str], make_writer: Callable[..., Writer], key: str | None
) -> None:
    """Of a batch over two shards, of which one is full, too."""
    writer = make_writer(max_backlog=2 * shards.count)
    waits = accepted(two_shards_apart[0], two_shards_apart[0])
    writer.add(waits)
    before = besides_records(shards)
    for batch in (accepted(*two_shards_apart), accepted(*two_shards_apart[::-1])):
        add = partial(writer.add_once, once=once(b"body", f"{key}-{batch[0].id}"), answer=b"{}") if key else writer.add
        with pytest.raises(BacklogFull) as refused:
            add(batch)
        assert refused.value.retry_after > 0
    assert besides_records(shards) == before
    assert [event.id for event in waiting(shards)] == [event.id for event in waits]


def besides_records(shards: Shards) -> list[Any]:
    """Every key but the records of idempotency keys."""
    return sorted(name for name in shards.client.scan_iter() if b":once:" not in name)


def test_a_request_that_a_full_backlog_refused_goes_on_with_its_key_when_there_is_room(
    shards: Shards, two_shards_apart: tuple[str, str], make_writer: Callable[..., Writer], monkeypatch: Any
) -> None:
    """Under the ids of the first attempt, as another with the same key may have added some of it meanwhile."""
    body = batch(*two_shards_apart)
    full = make_writer(max_backlog=0)
    monkeypatch.setattr(wiring, "writer", lambda: full)
    with pytest.raises(BacklogFull):
        intake.accept_batch(body, once(body))
    monkeypatch.undo()
    answers = [json.loads(intake.accept_batch(body, once(body)).body) for _ in range(2)]
    assert answers[0] == answers[1]
    assert {event.id for event in waiting(shards)} == {result["id"] for result in answers[0]["results"]}


def test_the_bulk_lane_counts_towards_the_backlog(shards: Shards, make_writer: Callable[..., Writer]) -> None:
    make_writer(max_backlog=shards.count, lane="bulk").add(accepted("alice"))
    with pytest.raises(BacklogFull):
        make_writer(max_backlog=shards.count).add(accepted("alice"))


def test_adding_an_event_that_is_in_flight_again_has_no_effect(
    shards: Shards, make_writer: Callable[..., Writer]
) -> None:
    batch = accepted("alice")
    make_writer().add(batch)
    make_writer().add(batch)
    assert len(waiting(shards)) == 1
    assert shards.client.hget(keys.counters(shards.of("alice")), "accepted") == b"1"


def test_what_comes_to_a_turn_after_its_caller_gave_up_is_not_accepted(
    shards: Shards, make_writer: Callable[..., Writer]
) -> None:
    with pytest.raises(Unavailable):
        make_writer(patience_ms=-1000).add(accepted("alice"))
    assert not waiting(shards)


def test_a_server_whose_clock_jumps_is_looked_at_again(
    shards: Shards, make_writer: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make_writer()
    writer.add(accepted("alice"))
    offsets = writer._timely._clock._offsets
    for server, offset in offsets.items():
        monkeypatch.setitem(offsets, server, offset._replace(ms=offset.ms - 3_600_000))
    writer.add(accepted("alice"))
    assert len(waiting(shards)) == 2


def test_a_batch_accepts_the_good_and_names_what_is_wrong_with_the_others(shards: Shards) -> None:
    good = json.loads(document())
    answer = json.loads(intake.accept_batch(json.dumps({"notifications": [good, {"type": "t"}, good]}).encode()).body)
    assert (answer["accepted"], answer["rejected"]) == (2, 1)
    assert [result["status"] for result in answer["results"]] == ["queued", "rejected", "queued"]
    assert {error["pointer"] for error in answer["results"][1]["errors"]} == {
        "/notifications/1/recipient",
        "/notifications/1/title",
    }
    assert {event.id for event in waiting(shards)} == {answer["results"][0]["id"], answer["results"][2]["id"]}


@pytest.mark.parametrize(
    ("payload", "pointer"),
    [
        (b"{}", "/notifications"),
        (b'{"notifications":[]}', "/notifications"),
        (b'{"notifications":{}}', "/notifications"),
        (b'{"notifications":[{}],"more":1}', ""),
        (b"[]", "/notifications"),
        (b"nonsense", ""),
        (json.dumps({"notifications": [{}] * 1001}).encode(), "/notifications"),
    ],
)
@pytest.mark.one_shard_is_enough
def test_what_is_no_batch_is_refused_as_a_whole(payload: bytes, pointer: str) -> None:
    with pytest.raises(Invalid) as caught:
        intake.accept_batch(payload)
    assert [error.pointer for error in caught.value.errors] == [pointer]


def test_a_script_that_the_server_forgot_is_loaded_again(shards: Shards) -> None:
    intake.accept_one(document())
    wiring.shards().client.script_flush()
    intake.accept_one(document())
    assert len(waiting(shards)) == 2
