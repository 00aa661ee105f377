"""GET /metrics: who may, and the text, by Prometheus' or OpenMetrics' rules."""

import fcntl
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from secrets import compare_digest
from typing import Final, NamedTuple

import psutil
from django.conf import settings
from prometheus_client import Metric, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from notifications import metrics

BEARER: Final = "bearer"
KINDS: Final = ("counter", "histogram")
# What processes counted that are gone.
GONE: Final = "gone"


class Refusal(NamedTuple):
    """Why somebody may not scrape: 401 who could come with a token, 403 where there is none to come with."""

    status: int
    detail: str


def refusal(address: str, authorization: str) -> Refusal | None:
    """Why not, or None. `address`: of who is connected, never what a header says; empty: it is not known."""
    scheme, _, credentials = authorization.partition(" ")
    token = settings.NOTIFY.metrics_token
    if token and scheme.lower() == BEARER and compare_digest(credentials.strip().encode(), token.encode()):
        return None
    if _is_near(address):
        return None
    if token:
        return Refusal(401, "Authorization: Bearer <NOTIFY_METRICS_TOKEN> is missing or wrong.")
    return Refusal(403, "This address is not one of NOTIFY_METRICS_NETWORKS, and no NOTIFY_METRICS_TOKEN is set.")


def text(accept: str, *others: Collector) -> tuple[bytes, str]:
    """What this process counted, or all that share its folder, and what others tell; with its media type."""
    encode, media_type = choose_encoder(accept)
    return encode(_Together([_own(), *others])), media_type


def bury(folder: Path) -> None:
    """Add up what processes counted that are gone, so that their files do not become more and more.

    Nobody may read meanwhile. Whoever dies in the middle of it may leave something that is counted twice.
    """
    for kind in KINDS:
        files = [file for file in folder.glob(f"{kind}_*.db") if _is_of_the_dead(file)]
        if not files:
            continue
        kept, fresh = folder / f"{kind}_{GONE}.db", folder / f"{kind}_{GONE}.new"
        fresh.unlink(missing_ok=True)
        sums = MmapedDict(str(fresh))
        for key, value in _sums([*files, kept]).items():
            sums.write_value(key, value, 0.0)
        sums.close()
        fresh.replace(kept)
        for file in files:
            file.unlink()


class _Together(Collector):
    """Several collectors as the one that is encoded."""

    def __init__(self, collectors: Iterable[Collector]) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        for collector in self._collectors:
            yield from collector.collect()


class _Shared(Collector):
    """What all processes counted that share a folder, those that are gone as well."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        with _locked(self._folder):
            bury(self._folder)
            # One that was just made may be empty yet.
            files = [str(file) for file in self._folder.glob("*.db") if file.stat().st_size]
            found: Iterable[Metric] = MultiProcessCollector.merge(files)
            return found


@cache
def _own() -> Collector:
    if settings.NOTIFY.metrics_dir:
        return _Shared(Path(settings.NOTIFY.metrics_dir))
    ProcessCollector(registry=metrics.REGISTRY)
    return metrics.REGISTRY


def _sums(files: Iterable[Path]) -> Counter[str]:
    sums = Counter[str]()
    for file in files:
        if file.exists() and file.stat().st_size:
            for key, value, _, _ in MmapedDict.read_all_values_from_file(file):
                sums[key] += value
    return sums


def _is_of_the_dead(file: Path) -> bool:
    pid = file.stem.partition("_")[2]
    return pid.isdigit() and not psutil.pid_exists(int(pid))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Nobody else reads, or buries."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_near(address: str) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    # As a server sees an IPv4 client that listens on both.
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return any((mapped or found) in network for network in settings.NOTIFY_METRICS_NETWORKS)
