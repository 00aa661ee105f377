"""The way to the gateways, with a Redis that is away and back again."""

import pytest
from structlog.testing import capture_logs

from notifications import metrics, wiring
from notifications.live.outbox import Outbox
from notifications.stream.client import connect

pytestmark = pytest.mark.one_shard_is_enough

FRAMES = [("alice", "one"), ("bob", "another")]
MESSAGES = [("notify.specific.nobody", {"type": "frames", "frames": FRAMES})]


def dropped() -> float:
    return metrics.REGISTRY.get_sample_value("notify_frames_total", {"result": "dropped"}) or 0


def test_frames_that_cannot_be_sent_are_counted_and_told_once_and_raise_nothing() -> None:
    outbox, before = Outbox(), dropped()
    with capture_logs() as lines:
        with pytest.MonkeyPatch.context() as patch, connect("redis://127.0.0.1:1/0", timeout_seconds=1) as nowhere:
            patch.setattr(wiring, "channels", lambda: nowhere)
            outbox.send(MESSAGES)
            outbox.send(MESSAGES)
        outbox.send(MESSAGES)
        outbox.send(MESSAGES)
    assert dropped() - before == 2 * len(FRAMES)
    assert [line["event"] for line in lines] == ["live.dropping", "live.flowing"]
