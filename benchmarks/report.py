"""What a run of contenders found, as a table, and what its numbers hang on."""

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.measure import Round, Spread, ratios
from benchmarks.servers import Servers, sync_seconds

LIBRARIES = ("Django", "djangorestframework", "granian", "psycopg", "redis", "hiredis", "msgspec")


@dataclass(frozen=True)
class Row:
    """One contender: events a second, how many times the reference, CPU seconds per 1000 events, cores others used."""

    name: str
    rate: Spread
    ratio: Spread
    cpu: Mapping[str, Spread]
    others: Spread

    @classmethod
    def of(cls, name: str, rounds: Sequence[Round], reference: Sequence[Round]) -> "Row":
        """The row of a contender, measured in the same rounds as the reference."""
        cpu = {whose: Spread.of(one.cpu_per_1000(whose) for one in rounds) for whose in rounds[0].cpu_seconds}
        others = Spread.of(one.others for one in rounds)
        return cls(name, Spread.of(one.rate for one in rounds), ratios(rounds, reference), cpu, others)


def rows(measured: Mapping[str, Sequence[Round]], reference: str) -> list[Row]:
    """A row of each contender, in their order."""
    return [Row.of(name, rounds, measured[reference]) for name, rounds in measured.items()]


def surroundings(servers: Servers) -> dict[str, Mapping[str, str]]:
    """Machine, versions and settings: what the numbers hang on."""
    return {
        "machine": _machine(servers.folder),
        "versions": {
            **servers.versions(),
            "Python": platform.python_version(),
            **{library: version(library) for library in LIBRARIES},
        },
        **servers.settings(),
    }


def table(found: Sequence[Row], reference: str, around: Mapping[str, Mapping[str, str]]) -> str:
    """Everything as text."""
    whose = list(found[0].cpu)
    titles = [
        "", "events/s (min-max)", f"times {reference} (min-max)", *(f"{name} CPU s/1000" for name in whose), "all",
        "others (max)",
    ]  # fmt: skip
    lines = [titles, *(_cells(row) for row in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    aligned = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
    facts = [
        f"{topic}: " + ", ".join(f"{name} {value}" for name, value in values.items())
        for topic, values in around.items()
    ]
    return "\n".join(["", *aligned, "", *facts])


def _cells(row: Row) -> list[str]:
    total = sum(spread.median for spread in row.cpu.values())
    return [
        row.name,
        f"{row.rate.median:,.0f} ({row.rate.lowest:,.0f}-{row.rate.highest:,.0f})",
        f"{row.ratio.median:.2f} ({row.ratio.lowest:.2f}-{row.ratio.highest:.2f})",
        *(f"{spread.median:.4f}" for spread in row.cpu.values()),
        f"{total:.4f}",
        f"{row.others.median:.1f} ({row.others.highest:.1f})",
    ]


def _machine(folder: Path) -> dict[str, str]:
    return {
        "cores": str(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()),
        "CPU": _cpu_model(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "disk": f"{_file_system(folder)}, 4 KiB written and synced in {sync_seconds(folder) * 1000:.2f} ms",
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _file_system(folder: Path) -> str:
    """The type of the file system that a folder is on: the mount point that its path shares most with."""
    mounts = [part for part in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown file system"
