"""What is broken when, drawn before a run begins."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

FAULT_GAP_SECONDS: Final = (1.0, 6.0)
SAME_TIME_SHARE: Final = 0.2
DOUBLE_SHARE: Final = 0.7
PROCESS_AWAY_SECONDS: Final = (0.1, 2.0)
SERVER_AWAY_SECONDS: Final = (0.2, 5.0)
# Half of these are long enough for a replica to take over.
NODE_AWAY_SECONDS: Final = (0.2, 8.0)
FROZEN_SECONDS: Final = (1.0, 20.0)
# Longer than anything waits: whoever is cut off is given up, and comes back to what others have done meanwhile.
CUT_SECONDS: Final = 30.0
BETWEEN_CUTS_SECONDS: Final = 15.0
SLOTS: Final = "slots"


class Action(StrEnum):
    """What is done to a process or a server; slots are moved, hosts are cut off, and nothing else is."""

    KILL = "kill"
    STOP = "stop"
    FREEZE = "freeze"
    MOVE = "move"
    CUT = "cut off"


BREAKING: Final = (Action.KILL, Action.STOP, Action.FREEZE)


@dataclass(frozen=True)
class Targets:
    """What there is to break. `moves`: how often slots are moved for once that everything breaks."""

    processes: tuple[str, ...]
    servers: tuple[str, ...]
    nodes: tuple[str, ...] = ()
    moves: int = 0
    hosts: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.processes, *self.servers, *self.nodes)

    def is_server(self, name: str) -> bool:
        """Whether it is no process of ours."""
        return name in self.servers or name in self.nodes or name in self.hosts

    def deck(self) -> list[tuple[str, Action]]:
        """Every action on everything, once."""
        return [(name, action) for name in self.names for action in BREAKING] + [(SLOTS, Action.MOVE)] * self.moves


@dataclass(frozen=True)
class Fault:
    """Something breaks. `seconds`: how long it is away, or stands still."""

    at: float
    target: str
    action: Action
    seconds: float


def planned(random: Random, seconds: float, targets: Targets) -> Sequence[Fault]:
    """Every action on every target in an order at random, then all of them again; some at the same time."""
    at, deck, faults = random.uniform(*FAULT_GAP_SECONDS), list[tuple[str, Action]](), list[Fault]()
    while at < seconds:
        if not deck:
            deck = targets.deck()
            random.shuffle(deck)
        target, action = deck.pop()
        fault = Fault(at, target, action, _seconds(random, target, action, targets))
        faults.append(fault)
        if targets.is_server(target) and random.random() < DOUBLE_SHARE:
            faults.append(_in_the_middle_of(random, fault, targets))
        if random.random() >= SAME_TIME_SHARE:
            at += random.uniform(*FAULT_GAP_SECONDS)
    return sorted(faults, key=lambda fault: fault.at)


def cuts(random: Random, seconds: float, hosts: Sequence[str]) -> Sequence[Fault]:
    """One host after the other, in an order at random, is cut off and let back."""
    order = random.sample(hosts, len(hosts))
    period = CUT_SECONDS + BETWEEN_CUTS_SECONDS
    times = [BETWEEN_CUTS_SECONDS / 2 + number * period for number in range(int(seconds // period))]
    return [Fault(at, order[number % len(order)], Action.CUT, CUT_SECONDS) for number, at in enumerate(times)]


def _in_the_middle_of(random: Random, outage: Fault, targets: Targets) -> Fault:
    """What holds something that it cannot get rid of just now ends: the hardest time of all."""
    target = random.choice(targets.processes)
    action = random.choice((Action.KILL, Action.STOP))
    at = outage.at + random.uniform(0.2, 0.9) * outage.seconds
    return Fault(at, target, action, _seconds(random, target, action, targets))


def _seconds(random: Random, target: str, action: Action, targets: Targets) -> float:
    match action:
        case Action.MOVE:
            return 0.0
        case Action.CUT:
            return CUT_SECONDS
        case Action.FREEZE:
            # Short ones are as hard as long ones, and leave more time for others.
            shortest, longest = FROZEN_SECONDS
            return shortest + (longest - shortest) * random.random() ** 3
    if target in targets.nodes:
        return random.uniform(*NODE_AWAY_SECONDS)
    return random.uniform(*(SERVER_AWAY_SECONDS if target in targets.servers else PROCESS_AWAY_SECONDS))
