"""What things take in memory and on disk: an event, a request's record, a warm recipient, a row (see README.md).

python -m benchmarks.sizes [--events 100000]
"""

import argparse
import json
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from benchmarks.accept import api_key, crowd
from benchmarks.accepting.client import Order
from benchmarks.accepting.contenders import notify, standing
from benchmarks.load import Lane, Load
from benchmarks.measure import POLL_SECONDS, ROUND_SECONDS, Stuck
from benchmarks.servers import Servers, consumer, private_servers
from notifications.stream import keys
from notify_project.local.children import manage

SHARD: Final = 0
REQUESTS: Final = 10_000
CLIENTS: Final = 16
MIRROR: Final = b"12 3 12"
MIRROR_MS: Final = 24 * 60 * 60 * 1000
CHUNK: Final = 1000
# A partitioned table's rows are in its partitions.
TABLE_BYTES: Final = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname LIKE %s"
LOG_BYTES: Final = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes")
    parser.add_argument("--events", type=int, default=100_000)
    events: int = parser.parse_args().events
    with private_servers() as servers:
        sizes = {**requests(servers), **events_and_rows(servers, events), **mirrors(servers, events)}
        for what, size in sizes.items():
            print(f"{what:44s} {size:8.0f} bytes")


def requests(servers: Servers) -> Mapping[str, float]:
    """What one request with an idempotency key leaves in Redis, its waiting event and all."""
    with crowd() as clients, standing(servers, notify(servers.folder)) as door:
        order = Order(door.port, api_key(servers), 0, REQUESTS, CLIENTS, warm_up=CLIENTS, seed=1)
        clients.ask(json.dumps(msgspec.to_builtins(order)))
        before = used(servers)
        clients.ask("go")
        found: dict[str, float] = {"a request with a key and its event, Redis": (used(servers) - before) / REQUESTS}
    names: Any = servers.valkey.scan_iter(keys.once(SHARD, "*", "*").replace("{", "[{]"), count=10_000)
    records = [servers.valkey.memory_usage(name) or 0 for name in names]
    return {**found, "of that the key's record": sum(records) / len(records)}


def events_and_rows(servers: Servers, count: int) -> Mapping[str, float]:
    """An event that waits, in memory and in Redis' file; the same when it is a row, in PostgreSQL and in its log."""
    lane = Lane(servers, Load(count, count))
    servers.valkey.flushall()
    servers.settle_down()
    before, file = used(servers), file_bytes(servers)
    lane.fill()
    waiting, written = used(servers) - before, file_bytes(servers) - file
    servers.settle_down()
    file, log = file_bytes(servers), number(servers, LOG_BYTES)
    with consumer(servers, "worker", manage("worker")):
        lane.release()
        deadline = time.monotonic() + ROUND_SECONDS
        while lane.left():
            if time.monotonic() > deadline:
                raise Stuck("the worker did not get to the end")
            time.sleep(POLL_SECONDS)
    lane.verify()
    return {
        "an event that waits, Redis": waiting / count,
        "that it was accepted, Redis' file": written / count,
        "that it was settled, Redis' file": (file_bytes(servers) - file) / count,
        "a row with its indexes, PostgreSQL": number(servers, TABLE_BYTES, "notifications_notification%") / count,
        "a recipient's inbox row, PostgreSQL": number(servers, TABLE_BYTES, "notifications_inbox") / count,
        "an event, PostgreSQL's log": (number(servers, LOG_BYTES) - log) / count,
    }


def mirrors(servers: Servers, count: int) -> Mapping[str, float]:
    """The mirrored inbox of a recipient who is looked at, which is there for a day after the last look."""
    servers.valkey.flushall()
    before = used(servers)
    for start in range(0, count, CHUNK):
        with servers.valkey.pipeline(transaction=False) as pipeline:
            for member in range(start, start + CHUNK):
                pipeline.set(keys.inbox(SHARD, f"user-{member:07d}"), MIRROR, px=MIRROR_MS)
            pipeline.execute()
    return {"a warm recipient's mirror, Redis": (used(servers) - before) / count}


def used(servers: Servers) -> int:
    """What Valkey says that its data takes."""
    return int(servers.valkey.info("memory")["used_memory"])


def file_bytes(servers: Servers) -> int:
    """What Valkey has written since its file was made anew."""
    return int(servers.valkey.info("persistence")["aof_current_size"])


def number(servers: Servers, query: str, *parameters: str) -> int:
    """The one number that a query finds."""
    row = servers.database.execute(query.encode(), parameters or None).fetchone()
    assert row is not None
    return int(str(row[0]))


if __name__ == "__main__":
    main()
