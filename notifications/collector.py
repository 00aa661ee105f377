"""Python's garbage collector, and what it need not look at."""

import gc


def spare(*thresholds: int) -> None:
    """Let the collector pass over all that is there now: modules and what they made, which live as long as the process.

    Looking through them takes a tenth of a second, in which a process does nothing else. `thresholds` as for
    `gc.set_threshold`, where others than Python's own are better.
    """
    gc.collect()
    gc.freeze()
    if thresholds:
        gc.set_threshold(*thresholds)
