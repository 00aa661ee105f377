"""The faults of the plan, each done at its time and written down."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from tests.chaos.breaking import Fault
from tests.chaos.clock import Clock
from tests.chaos.deployment import Deployment


class Done(msgspec.Struct, frozen=True):
    """A fault as it came to be: when, to whom, what, for how long; not done where the target was broken already."""

    at: float
    target: str
    action: str
    seconds: float
    done: bool

    def touches(self, begin: float, end: float) -> bool:
        """Whether it lasted at some time in between."""
        return self.at < end and self.at + self.seconds > begin

    def __str__(self) -> str:
        words = f"{self.at:7.1f} s  {self.action} {self.target}, {self.seconds:.1f} s"
        return words if self.done else f"{words} (was broken already)"


class Faults:
    """Carries out a plan."""

    def __init__(self, clock: Clock, deployment: Deployment, plan: Sequence[Fault]) -> None:
        self.log: list[Done] = []
        self._clock = clock
        self._deployment = deployment
        self._waiting = list(reversed(plan))

    def look(self) -> None:
        """Do what is due."""
        while self._waiting and self._waiting[-1].at <= self._clock.now():
            fault = self._waiting.pop()
            at = self._clock.now()
            done = self._deployment.suffer(fault.target, fault.action, fault.seconds)
            self.log.append(Done(at, fault.target, fault.action, fault.seconds, done))

    def counts(self) -> dict[str, Counter[str]]:
        """How often what was done to whom."""
        counts: dict[str, Counter[str]] = {}
        for fault in self.log:
            if fault.done:
                counts.setdefault(fault.target.rstrip(" 0123456789"), Counter())[fault.action] += 1
        return counts
