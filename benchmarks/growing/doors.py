"""Accepting by several processes of the web, on several shards."""

from collections.abc import Sequence
from typing import Final

from benchmarks.accept import BATCH, BATCHES, CLIENTS, REQUESTS, Load, Shot, api_key, crowd, one_shot
from benchmarks.accepting.client import Order
from benchmarks.accepting.contenders import notify, standing
from benchmarks.figures import Figure
from benchmarks.servers import Servers

# Processes of the web, shards.
ALONE: Final = (1, 1)
WEBS: Final = (ALONE, (2, 1), (4, 1), (1, 4), (2, 4), (4, 4))
LOADS: Final = (Load("one at a time", REQUESTS, 0, CLIENTS), Load(f"in batches of {BATCH}", BATCHES, BATCH, CLIENTS))


def doors(servers: Servers, rounds: int, name: str) -> list[Figure]:
    """What they accept, and the CPU of the web and of Valkey behind a request, against one process on one shard."""
    shots: dict[tuple[str, tuple[int, int]], list[Shot]] = {}
    key = api_key(servers)
    with crowd() as clients:
        for number in range(rounds + 1):
            for web in WEBS[number % len(WEBS) :] + WEBS[: number % len(WEBS)]:
                processes, shards = web
                # Whoever starts looks whether Redis is filled with as many shards.
                servers.valkey.flushall()
                with standing(servers, notify(servers.folder, processes=processes, shards=shards)) as door:
                    for load in LOADS:
                        order = Order(door.port, key, load.size, load.requests, load.clients, load.warm_up, number + 1)
                        shot = one_shot(servers, clients, door, order, load)
                        _say(number, _name(web), load, shot)
                        if number:
                            shots.setdefault((load.title, web), []).append(shot)
    found: list[Figure] = []
    for load in LOADS:
        for web in WEBS[1:]:
            what = f"accept {load.title} by {_name(web)}"
            found += _figures(name, what, shots[load.title, web], shots[load.title, ALONE])
    return found


def _figures(name: str, what: str, ours: Sequence[Shot], alone: Sequence[Shot]) -> list[Figure]:
    rates = [[shot.rate for shot in shots] for shots in (ours, alone)]
    cpu = [[shot.web_us + shot.valkey_us for shot in shots] for shots in (ours, alone)]
    return [
        Figure.against(name, what, "events/s", rates[0], _name(ALONE), rates[1]),
        Figure.against(name, f"{what}: web and Valkey", "µs/request", cpu[0], _name(ALONE), cpu[1]),
    ]


def _name(web: tuple[int, int]) -> str:
    processes, shards = web
    return f"{processes} web{'s'[: processes - 1]} on {shards} shard{'s'[: shards - 1]}"


def _say(number: int, name: str, load: Load, shot: Shot) -> None:
    label = f"round {number}" if number else "warm-up"
    cpu = f"web {shot.web_us:,.0f} µs, Valkey {shot.valkey_us:,.0f} µs a request; others {shot.others:.1f} cores"
    print(f"{label}  {name:<18} {load.title:<18} {shot.rate:>8,.0f} events/s  {cpu}", flush=True)
