"""The end of a batch, announced and settled beside the storing of the next one.

To store is PostgreSQL's work, and the rest Redis': where there is a backlog, neither waits for the other. So what
ends a batch also reads one: that is there when the next one is stored.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

from notifications import tracing
from notifications.stream.group import Entry

# A batch of so many events has more behind it. What is smaller is announced at once, by the thread that stored it.
BACKLOG_EVENTS: Final = 500

Entries = list[Entry]


class _Ending(NamedTuple):
    batch: Entries
    future: Future[Entries]


class Behind:
    """Ends one batch at a time, in a thread of its own."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="notify-behind")
        self._ending: _Ending | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something was begun that was not waited for."""
        return self._ending is not None

    def begin(self, batch: Entries, end: Callable[[], Entries]) -> None:
        """Call `end`, which ends the batch and returns the next but one, beside whatever follows. None is ending."""
        self._ending = _Ending(batch, self._executor.submit(end))

    def catch_up(self) -> Entries:
        """Wait until no batch is at its end; what was read since. Raises what kept one from it: see `take_back`."""
        if not self._ending:
            return []
        read = self._ending.future.result()
        self._ending = None
        return read

    def take_back(self) -> Entries:
        """The batch that was kept from its end, and is to be handled anew."""
        kept, self._ending = self._ending, None
        return kept.batch if kept else []


def is_backlog(batch: Sequence[Entry]) -> bool:
    """Whether a batch is so large that more is waiting. One that is followed by traces goes its way in one piece."""
    large = len(batch) >= BACKLOG_EVENTS or sum(entry.events for entry in batch) >= BACKLOG_EVENTS
    return large and not tracing.is_on()
