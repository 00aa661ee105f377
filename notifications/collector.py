"""Python's garbage collector, and what it need not look at."""

import gc
from typing import Final

# A start makes a hundred thousand objects that stay, and a batch tens of thousands, of which reference counts free all
# but a few. With Python's own thresholds, looking for garbage among them is a sixth of what a start takes.
COLLECT_AFTER: Final = (100_000, 50, 50)


def spare(*thresholds: int) -> None:
    """Let the collector pass over all that is there now: modules and what they made, which live as long as the process.

    Looking through them takes a tenth of a second, in which a process does nothing else. So it is not done once more
    before, either: there are a thousand objects in cycles by then, which stay. `thresholds` as for `gc.set_threshold`,
    where others than Python's own are better.
    """
    gc.freeze()
    if thresholds:
        gc.set_threshold(*thresholds)
