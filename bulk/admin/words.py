"""Numbers and times of a job as people read them. bulk-job.js writes the same words when they change."""

import math
from datetime import datetime
from typing import Any, Final

from django.utils import timezone

from bulk import shapes
from bulk.counts import Counts
from bulk.models import BulkJob
from notifications import representation

UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
NOT_KNOWN: Final = "\u2013"


def told(job: BulkJob, counts: Counts) -> dict[str, Any]:
    """All of a job that changes while it runs."""
    progress = shapes.progress(job, counts)
    settled = counts.stored + counts.failed
    return {
        "id": progress["id"],
        "status": progress["status"],
        **{name: f"{progress[name]:,}" for name in ("total", "fanned_out", "stored", "failed")},
        "settled": f"{settled:,}",
        "percent": percent(settled, job.total),
        "rate": rate(progress["rate"]),
        "eta": duration(progress["eta_seconds"]) if progress["eta_seconds"] else NOT_KNOWN,
        "any_failed": bool(counts.failed),
        "bar": {
            "fanned_out": share(counts.fanned_out, job.total),
            "stored": share(counts.stored, job.total),
            "failed": share(counts.failed, job.total),
        },
    }


def percent(part: int, total: int) -> str:
    """“45.2”; never “100.0” before all of it is there."""
    return f"{part * 1000 // total / 10:.1f}" if total else "0.0"


def share(part: int, total: int) -> str:
    """A length along the bar: “45.215%”."""
    return f"{min(part / total, 1) * 100 if total else 0:.3f}%"


def rate(per_second: float) -> str:
    """“1,204/s”, “0.5/s”."""
    return f"{per_second:,.0f}/s" if per_second >= 10 or per_second == 0 else f"{per_second:,.1f}/s"


def duration(seconds: float) -> str:
    """In the two largest units that it fills: “3 min 20 s”, “1 d 4 h”."""
    rest, parts = max(math.ceil(seconds), 1), []
    for name, unit in UNITS:
        count, rest = divmod(rest, unit)
        parts.append(f"{count} {name}" if count else "")
    first = next(place for place, part in enumerate(parts) if part)
    return " ".join(filter(None, parts[first : first + 2]))


def moment(at: datetime) -> str:
    """A moment to the second: `2026-01-31 08:15:00 UTC`."""
    return representation.timestamp(at)[:19].replace("T", " ") + " UTC"


def distance(at: datetime) -> str:
    """How far off that is, in one unit: “in 4 min”, “3 d ago”."""
    seconds = (at - timezone.now()).total_seconds()
    for name, unit in UNITS:
        if (count := int(abs(seconds) // unit)) > 0:
            return f"in {count} {name}" if seconds > 0 else f"{count} {name} ago"
    return "now"
