"""What a run will do, all of it drawn from the seed before it begins: what is sent when, and what is broken when.

Times are seconds since the start of the run. The same seed and the same length give the same plan, to the letter; what
the operating system makes of it is its own affair.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count
from random import Random
from typing import Any, Final

from tests.chaos import breaking
from tests.chaos.breaking import Fault, Targets
from tests.chaos.chance import drawn, moments

PRODUCERS: Final = 4
RECIPIENTS: Final = tuple(f"reader-{number}" for number in range(40))
# The first of them have a client on a socket.
FOLLOWED: Final = RECIPIENTS[:16]
GATEWAYS: Final = 2

REQUESTS_PER_SECOND: Final = 5.0
BATCH_SHARE: Final = 0.15
BATCH_SIZES: Final = (2, 40)
KEYED_SHARE: Final = 0.6
AGAIN_SHARE: Final = 0.2
AGAIN_SECONDS: Final = (0.0, 8.0)
# Of the requests for a single event, so many are for later.
LATER_SHARE: Final = 0.15
LATER_SECONDS: Final = (0.0, 20.0)

READS_PER_SECOND: Final = 4.0
ORDERS_PER_SECOND: Final = 0.5
SECONDS_PER_CRASH: Final = 45.0
# A poisonous event takes three workers and as many claims with it; it should be over when the run is.
CRASHES_UNTIL: Final = 0.6

SECONDS_PER_BULK: Final = 5.0
BULK_SENDERS: Final = 2
# Whoever gets single notifications gets these, too, and many others do.
BULK_SIZES: Final = (100, 600)
BULK_CROWD: Final = (*RECIPIENTS, *(f"member-{number}" for number in range(600)))
# Slow enough for somebody to change their mind.
BULK_RATES: Final = (None, "50/s", "200/s")
CHANGE_SECONDS: Final = (0.1, 3.0)
FAILING_BULKS: Final = 0.2


class Kind(StrEnum):
    """What becomes of an event, by the fault that it carries (contract, section 5)."""

    PLAIN = "plain"
    SLOW = "slow"
    FAILS_ONCE = "fails-once"
    FAILS_TWICE = "fails-twice"
    FAILS_ALWAYS = "fails-always"
    INVALID = "invalid"
    CRASH = "crash"


FAULT_OF: Final[dict[Kind, dict[str, Any]]] = {
    Kind.SLOW: {"sleep_ms": 20},
    Kind.FAILS_ONCE: {"fail": 1},
    Kind.FAILS_TWICE: {"fail": 2},
    Kind.FAILS_ALWAYS: {"fail": -1},
    Kind.INVALID: {"invalid": True},
    Kind.CRASH: {"crash": True},
}
SHARES: Final = {
    Kind.PLAIN: 93.0,
    Kind.SLOW: 2.0,
    Kind.FAILS_ONCE: 2.0,
    Kind.FAILS_TWICE: 1.0,
    Kind.FAILS_ALWAYS: 1.0,
    Kind.INVALID: 1.0,
}


def type_of(kind: Kind) -> str:
    """The event type that events of a kind have, by which an operator finds them."""
    return f"chaos.{kind}"


@dataclass(frozen=True)
class Numbered:
    """An event that is sent; its number is in its title and in its data."""

    number: int
    recipient: str
    kind: Kind = Kind.PLAIN

    def document(self) -> dict[str, Any]:
        """The event as a producer sends it."""
        fault = FAULT_OF.get(self.kind)
        return {
            "recipient": self.recipient,
            "type": type_of(self.kind),
            "title": f"Event {self.number}",
            "data": {"number": self.number, **({"fault": fault} if fault else {})},
        }


@dataclass(frozen=True)
class Request:
    """One request of a producer. `again`: so many seconds after its answer it is sent once more, with its key.

    `delay`: it is a schedule, due so many seconds from when it is made.
    """

    at: float
    events: tuple[Numbered, ...]
    batch: bool
    gateway: int
    key: str | None
    again: float | None
    delay: float | None = None

    def body(self) -> tuple[str, dict[str, Any]]:
        """Where it goes, and its JSON."""
        documents = [event.document() for event in self.events]
        if self.batch:
            return "/api/notify/batch", {"notifications": documents}
        if self.delay is not None:
            return "/api/schedule", {**documents[0], "delay": self.delay}
        return "/api/notify", documents[0]


@dataclass(frozen=True)
class Change:
    """Somebody changes their mind about a bulk job, so many seconds after its last change: an order, or a `rate`."""

    after: float
    what: str
    rate: str | None = None


@dataclass(frozen=True)
class Bulk:
    """A bulk job. `number` is its own; its events have none."""

    at: float
    number: int
    recipients: tuple[str, ...]
    kind: Kind
    rate: str | None
    key: str
    gateway: int
    changes: tuple[Change, ...]

    @property
    def title(self) -> str:
        """By which it is found."""
        return f"Bulk {self.number}"

    def notification(self) -> dict[str, Any]:
        """What all of them get."""
        fault = FAULT_OF.get(self.kind)
        return {"type": "chaos.bulk", "title": self.title, "data": {"fault": fault} if fault else {}}


@dataclass(frozen=True)
class MarkRead:
    """A recipient reads: everything, or some."""

    at: float
    recipient: str
    all: bool
    by_socket: bool
    gateway: int


@dataclass(frozen=True)
class Order:
    """An operator replays the dead letter at `place` of the newest, 0 to 1; corrected, or as it is."""

    at: float
    place: float
    corrected: bool
    gateway: int


@dataclass(frozen=True)
class Plan:
    """A whole run."""

    seed: int
    seconds: float
    producers: tuple[tuple[Request, ...], ...]
    reads: tuple[MarkRead, ...]
    orders: tuple[Order, ...]
    faults: tuple[Fault, ...]
    bulks: tuple[tuple[Bulk, ...], ...]

    @classmethod
    def make(cls, seed: int, seconds: float, targets: Targets) -> "Plan":
        """The plan of a seed. Each part has random numbers of its own: one may change and the others stay."""
        numbers = count(1)
        producers = [_requests(seed, producer, seconds, numbers) for producer in range(PRODUCERS)]
        return cls(
            seed=seed,
            seconds=seconds,
            producers=tuple(
                _with_delays(drawn(seed, "later"), requests)
                for requests in _with_crashes(drawn(seed, "crash"), producers, seconds)
            ),
            reads=tuple(_reads(drawn(seed, "reads"), seconds)),
            orders=tuple(_orders(drawn(seed, "orders"), seconds)),
            faults=tuple(breaking.planned(drawn(seed, "faults"), seconds, targets)),
            bulks=tuple(tuple(_bulks(seed, sender, seconds)) for sender in range(BULK_SENDERS)),
        )


def _requests(seed: int, producer: int, seconds: float, numbers: Iterator[int]) -> list[Request]:
    random = drawn(seed, f"producer {producer}")
    times = moments(random, seconds, REQUESTS_PER_SECOND)
    return [_request(random, at, f"chaos-{seed}-{producer}-{number}", numbers) for number, at in enumerate(times)]


def _request(random: Random, at: float, key: str, numbers: Iterator[int]) -> Request:
    batch = random.random() < BATCH_SHARE
    size = random.randint(*BATCH_SIZES) if batch else 1
    kinds = random.choices(list(SHARES), list(SHARES.values()), k=size)
    events = tuple(Numbered(next(numbers), random.choice(RECIPIENTS), kind) for kind in kinds)
    keyed = random.random() < KEYED_SHARE
    again = random.uniform(*AGAIN_SECONDS) if keyed and random.random() < AGAIN_SHARE else None
    return Request(at, events, batch, random.randrange(GATEWAYS), key if keyed else None, again)


def _with_crashes(random: Random, producers: list[list[Request]], seconds: float) -> list[tuple[Request, ...]]:
    """A few single events are poison."""
    places = [
        (producer, index)
        for producer, requests in enumerate(producers)
        for index, request in enumerate(requests)
        if not request.batch and request.at < seconds * CRASHES_UNTIL
    ]
    for producer, index in random.sample(places, min(len(places), max(1, int(seconds / SECONDS_PER_CRASH)))):
        request = producers[producer][index]
        poison = replace(request.events[0], kind=Kind.CRASH)
        producers[producer][index] = replace(request, events=(poison,))
    return [tuple(requests) for requests in producers]


def _with_delays(random: Random, requests: tuple[Request, ...]) -> tuple[Request, ...]:
    """Some single events are for later."""
    return tuple(
        replace(request, delay=round(random.uniform(*LATER_SECONDS), 3))
        if not request.batch and random.random() < LATER_SHARE
        else request
        for request in requests
    )


def _bulks(seed: int, sender: int, seconds: float) -> Iterator[Bulk]:
    random = drawn(seed, f"bulk {sender}")
    for number, at in enumerate(moments(random, seconds, 1 / SECONDS_PER_BULK / BULK_SENDERS)):
        yield Bulk(
            at=at,
            number=number * BULK_SENDERS + sender,
            recipients=tuple(random.sample(BULK_CROWD, random.randint(*BULK_SIZES))),
            kind=Kind.FAILS_ONCE if random.random() < FAILING_BULKS else Kind.PLAIN,
            rate=random.choice(BULK_RATES),
            key=f"chaos-{seed}-bulk-{sender}-{number}",
            gateway=random.randrange(GATEWAYS),
            changes=tuple(_changes(random)),
        )


def _changes(random: Random) -> Iterator[Change]:
    """Some are left alone, some stand still for a while, some get another rate, some are cancelled in the end."""
    if random.random() < 0.4:
        yield Change(random.uniform(*CHANGE_SECONDS), "pause")
        yield Change(random.uniform(*CHANGE_SECONDS), "resume")
    if random.random() < 0.3:
        yield Change(random.uniform(*CHANGE_SECONDS), "rate", random.choice(BULK_RATES))
    if random.random() < 0.3:
        yield Change(random.uniform(*CHANGE_SECONDS), "cancel")


def _reads(random: Random, seconds: float) -> Iterator[MarkRead]:
    for at in moments(random, seconds, READS_PER_SECOND):
        by_socket = random.random() < 0.5
        recipient = random.choice(FOLLOWED if by_socket else RECIPIENTS)
        yield MarkRead(at, recipient, random.random() < 0.2, by_socket, random.randrange(GATEWAYS))


def _orders(random: Random, seconds: float) -> Iterator[Order]:
    for at in moments(random, seconds, ORDERS_PER_SECOND):
        yield Order(at, random.random(), random.random() < 0.5, random.randrange(GATEWAYS))
