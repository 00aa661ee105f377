"""Everybody who calls a deployment while it breaks."""

from collections import Counter
from collections.abc import Mapping

from tests.api import Api
from tests.chaos.bulks import BulkSender
from tests.chaos.clock import Caller, Clock, Part
from tests.chaos.deployment import Deployment
from tests.chaos.followers import Follower
from tests.chaos.ledger import Ledger
from tests.chaos.people import Operator, Reading
from tests.chaos.plan import FOLLOWED, Plan
from tests.chaos.producers import Producer


class Crowd:
    """Everybody who calls the deployment, each in a thread."""

    def __init__(self, clock: Clock, deployment: Deployment, plan: Plan, promises: Ledger) -> None:
        self.followers = {
            recipient: Follower(recipient, token, deployment.gateways)
            for recipient, token in tokens(deployment).items()
        }

        def caller() -> Caller:
            return Caller(deployment.gateways, deployment.stack.api_key)

        self.producers = [Producer(clock, caller(), promises, requests) for requests in plan.producers]
        self.reading = Reading(clock, caller(), plan.reads, self.followers)
        self.operator = Operator(clock, caller(), promises, plan.orders)
        self.bulk_senders = [BulkSender(clock, caller(), promises, bulks) for bulks in plan.bulks]
        self._callers: tuple[Part, ...] = (*self.producers, *self.bulk_senders, self.reading, self.operator)
        self._everybody: tuple[Part, ...] = (*self.followers.values(), *self._callers)

    def start(self) -> None:
        """Begin, all together."""
        for part in self._everybody:
            part.start()

    def end(self) -> None:
        """Let the followers go."""
        for follower in self.followers.values():
            follower.end()

    def have_seen(self, heads: Mapping[str, int]) -> bool:
        """Whether every follower has all up to its inbox's newest `seq`."""
        return all(follower.last >= heads.get(who, 0) for who, follower in self.followers.items())

    def gone(self) -> bool:
        """Whether all but the followers have done what they had to."""
        return not any(part.is_alive() for part in self._callers)

    def check(self) -> None:
        """Raise where the driver itself has failed: what it would find then is worth nothing."""
        for part in self._everybody:
            if part.failure is not None:
                raise RuntimeError(f"the driver's own {type(part).__name__} failed") from part.failure

    def traffic(self) -> Counter[str]:
        """What was done, counted."""
        counts = Counter[str]()
        for producer in self.producers:
            counts.update(producer.counts)
        others_counts = [("bulks", sender.counts) for sender in self.bulk_senders]
        for prefix, others in (*others_counts, ("reads", self.reading.counts), ("replays", self.operator.counts)):
            counts.update({f"{prefix}: {what}": count for what, count in others.items()})
        return counts


def tokens(deployment: Deployment) -> dict[str, str]:
    """A token for each recipient that has a client, valid for a day."""
    deployment.stack.url = deployment.gateways[0]
    with Api(deployment.stack) as api:
        return {recipient: api.token(recipient, ttl=86_400) for recipient in FOLLOWED}
