"""What a worker tells the reports and gauges of the events that it settled."""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

import structlog

from notifications import events as event_ids
from notifications import metrics, reporting
from notifications.events import Event
from notifications.stream.group import Entry
from notifications.stream.reader import Again, Dead, Outcome

log = structlog.get_logger("notify.worker")

LIVE: Final = b":live"

Pairs = list[tuple[Entry, Event]]


def count(outcomes: Collection[Outcome], events: int, stored: Pairs) -> None:
    """Tell the reports of so many events that are settled, and of those that are rows. Never raises: it only counts."""
    try:
        reporting.handled(events)
        reporting.began(beginnings(stored))
        metrics.worker_events.observe(events)
        # Most batches have none, and are not gone through.
        if not events or len(stored) < events:
            for outcome, failures in failed(outcomes).items():
                metrics.worker_failed.labels(outcome).inc(failures)
    except Exception as error:  # noqa: BLE001 - see above
        log.warning("worker.not_counted", error=repr(error))


def failed(outcomes: Iterable[Outcome]) -> Counter[str]:
    """How many were not stored, by what became of them."""
    kinds = Counter(outcome.reason for outcome in outcomes if isinstance(outcome, Dead))
    if again := sum(isinstance(outcome, Again) for outcome in outcomes):
        kinds["retried"] = again
    return kinds


def beginnings(batch: Pairs) -> Counter[int]:
    """When the events of the lane `live` began their way, Unix ms of Redis' clock; how many did at each time.

    That is when they came into the lane. One that was tried before came in again for that, and is as old as its id
    says, which says nothing of one that was scheduled or replayed, or whose id is none of ours. Bulk waits by design,
    and is not looked at.
    """
    live = [pair for pair in batch if pair[0].stream.endswith(LIVE)]
    # Most of a batch came in at a few times: the numbers are made of these alone.
    fresh = Counter([entry.entry_id.partition(b"-")[0] for entry, event in live if not event.attempts])
    times = Counter({int(time_ms): count for time_ms, count in fresh.items()})
    again = [event.id for _, event in live if event.attempts and event.source == "api" and not event.life]
    times.update(time_ms for time_ms in map(_accepted_ms, again) if time_ms is not None)
    return times


def _accepted_ms(event_id: str) -> int | None:
    try:
        return event_ids.accepted_ms(event_id)
    except ValueError:
        # What another than us put into the lane may have any id.
        return None
