"""The number of shards: fixed by who comes first, and changed only where nothing is lost by it."""

from collections.abc import Callable
from io import StringIO

import msgspec
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from notifications import process, wiring
from notifications.exceptions import OtherShards
from notifications.management.commands.worker import pinned
from notifications.stream import keys, layout
from notifications.stream.client import Shards
from notifications.stream.register import Register, Report
from notifications.stream.writer import Writer

REPORT = Report(kind="worker", host="here", pid=1, handled=0, rate=0.0, rss_bytes=1)


@pytest.fixture
def others(shards: Shards) -> Shards:
    """The same Redis, for a process with another number of shards."""
    return Shards(shards.client, shards.count + 1)


def test_who_comes_first_fixes_the_number_and_another_one_is_refused(shards: Shards, others: Shards) -> None:
    layout.fix(shards)
    layout.fix(shards)
    with pytest.raises(OtherShards, match=f"filled with {shards.count}: start with NOTIFY_SHARDS={shards.count}"):
        layout.fix(others)
    shards.client.flushall()
    layout.fix(others)


def test_a_process_with_another_number_does_not_start(
    shards: Shards, others: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout.fix(others)
    with pytest.raises(SystemExit, match="change_shards"):
        process.run("worker", None)  # type: ignore[arg-type]  # it is not come to
    monkeypatch.setattr(settings, "NOTIFY", msgspec.structs.replace(settings.NOTIFY, shards=others.count))
    wiring.require_shards()
    with pytest.raises(OtherShards):
        Register(shards, "name").report(REPORT, {}, age_ms=0)


def test_the_number_is_changed_where_nothing_waits_and_nobody_runs(
    others: Shards, make_writer: Callable[..., Writer], make_event: Callable[..., object]
) -> None:
    register = Register(others, "somebody")
    register.report(REPORT, {}, age_ms=0)
    make_writer().add([make_event()])  # type: ignore[list-item]
    with pytest.raises(CommandError, match="1 live, somebody"):
        call_command("change_shards")
    others.client.delete(keys.lane(wiring.shards().of("alice"), "live"))
    register.report(REPORT, {}, age_ms=0, stopped=True)
    out = StringIO()
    call_command("change_shards", stdout=out)
    assert f"{settings.NOTIFY.shards} shards from now on" in out.getvalue()
    assert layout.fixed(others) == settings.NOTIFY.shards
    assert list(others.client.scan_iter(keys.everything())) == [keys.layout().encode()]


@pytest.mark.parametrize(("text", "expected"), [("0-3", {0, 1, 2, 3}), ("7, 2-3", {2, 3, 7}), ("5", {5})])
def test_a_worker_may_be_pinned_to_shards(text: str, expected: set[int]) -> None:
    assert pinned(text, 8) == expected


@pytest.mark.parametrize("text", ["8", "0-8", "3-1", "", "a", "-1", "1,,2"])
def test_shards_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(CommandError, match="from 0 to 7"):
        pinned(text, 8)
