"""What one request takes from the rates of its caller and its recipients, and gives back where nothing came of it.

An API key's rate counts the events it sends; a session of staff has none. A recipient's, NOTIFY_RECIPIENT_RATE, counts
what it is sent, by whomever. docs/rates.md says what counts.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from django.conf import settings
from redis.exceptions import RedisError

from notifications import wiring
from notifications.access.principal import Principal
from notifications.exceptions import FieldError, Invalid, RateExceeded, RecipientRateExceeded, Refused
from notifications.stream import keys, rates
from notifications.stream.cluster import AWAY
from notifications.stream.rates import Rate, Standing, Toll

Told = tuple[str, Rate, Standing]

POLICY: Final = "key"
RECIPIENT_POLICY: Final = "recipient"


def is_one_script() -> bool:
    """Whether one script can see to all that a request to send asks: one server has it, and no recipient a rate."""
    return wiring.shards().is_one_server and not settings.NOTIFY.recipient_rate


class Charge:
    """One request's. `since` is when it began to wait for Redis, by time.monotonic(); None: it did not yet."""

    def __init__(self, caller: Principal | None = None) -> None:
        """Without a caller, nobody's rate but the recipients' is asked."""
        self.since: float | None = None
        self._caller = caller
        self._rate = rates.parse(caller.rate) if caller and caller.rate else None
        self._events = 0
        self._recipients: list[str] = []
        self._standing: Standing | None = None
        # What admit.lua takes; None: it is taken before (`take`).
        self.toll = _toll(caller, self._rate) if caller and self._rate else None

    def stands(self, standing: Standing) -> None:
        """Note how the rate stands after admit.lua."""
        self._standing = standing

    def taken(self, events: int, standing: Standing) -> None:
        """Note what admit.lua has taken. Raises RateExceeded where that is nothing."""
        self.stands(standing)
        if not standing.taken and self._caller:
            raise _exceeded(self._caller, events, standing, self.limits())

    def fits(self, events: int) -> bool:
        """Whether the caller's rate ever lets so many through at once."""
        return self._rate is None or events <= self._rate.burst

    def take(self, events: int) -> None:
        """Take events from the caller's rate, all or none.

        Of a cluster, the node that keeps the rate may be away alone: then it limits nobody, and what is accepted is for
        the nodes of the recipients to say. Raises RateExceeded; and Invalid where they are more than it ever lets
        through at once.
        """
        if self._rate is None or self._caller is None:
            return
        if not self.fits(events):
            # Told to come back later, they would do so for ever.
            raise Invalid([FieldError("/notifications", _too_many(events, self._rate))])
        try:
            standing = self._ask(self._caller, self._rate, events)
        except AWAY:
            if wiring.shards().is_one_server:
                raise
            return
        if not standing.taken:
            raise _exceeded(self._caller, events, standing, self.limits())
        self._events += events

    def take_for(self, recipient: str) -> None:
        """Take an event from a recipient's rate. Raises RateExceeded; nothing is taken then, from the caller either."""
        if not settings.NOTIFY.recipient_rate:
            return
        rate = rates.parse(settings.NOTIFY.recipient_rate)
        (standing,) = self._ask_for([recipient], rate)
        if standing.taken:
            return
        self.give_back()
        detail = f"The recipient was sent what its rate of {rate.text} allows. Try again in {standing.seconds} s."
        told = [*self._told(), (RECIPIENT_POLICY, rate, standing)]
        raise RecipientRateExceeded(detail, retry_after=standing.seconds, limits=_limits(told))

    def take_each(self, recipients: list[str]) -> list[str]:
        """Take an event from each recipient's rate, in their order; of each why not, empty where it was taken.

        What was not is given back to the caller.
        """
        if not settings.NOTIFY.recipient_rate:
            return [""] * len(recipients)
        rate = rates.parse(settings.NOTIFY.recipient_rate)
        standings = self._ask_for(recipients, rate)
        refused = sum(not standing.taken for standing in standings)
        if refused:
            self._return(refused)
        return ["" if standing.taken else _full(rate, standing) for standing in standings]

    def give_back(self) -> None:
        """Give back all that was taken, as far as Redis answers: nothing came of it."""
        recipients, self._recipients = self._recipients, []
        self._return(self._events)
        if not recipients:
            return
        rate = rates.parse(settings.NOTIFY.recipient_rate)
        with suppress(RedisError, Refused):
            for members in wiring.shards().group(recipients, str).values():
                wiring.rates().take_each(members, rate, -1)

    @contextmanager
    def given_back_on_error(self) -> Iterator[None]:
        """Give back all of it where the block raises: nothing was accepted.

        But where Redis went away, as it may have accepted, and could be told nothing just now; and where the request
        stays reserved under its idempotency key, and is gone on with for nothing.
        """
        try:
            yield
        except RedisError:
            raise
        except BaseException as error:
            if not (isinstance(error, Refused) and error.reserved):
                self.give_back()
            raise

    def limits(self) -> dict[str, str]:
        """The RateLimit fields of the answer; none for whom no rate holds."""
        return _limits(self._told())

    def _told(self) -> list[Told]:
        return [(POLICY, self._rate, self._standing)] if self._rate and self._standing else []

    def _ask(self, caller: Principal, rate: Rate, events: int) -> Standing:
        self.since = self.since or time.monotonic()
        self._standing = wiring.rates().take(caller.name, rate, events, self.since)
        return self._standing

    def _ask_for(self, recipients: list[str], rate: Rate) -> list[Standing]:
        """One script a shard; what was taken before one fails is given back with the rest."""
        self.since = self.since or time.monotonic()
        places = wiring.shards().group(range(len(recipients)), recipients.__getitem__)
        found: dict[int, Standing] = {}
        for members in places.values():
            standings = wiring.rates().take_each([recipients[place] for place in members], rate, since=self.since)
            found |= zip(members, standings, strict=True)
            self._recipients += [recipients[place] for place in members if found[place].taken]
        return [found[place] for place in range(len(recipients))]

    def _return(self, events: int) -> None:
        self._events -= events
        if events and self._rate and self._caller:
            with suppress(RedisError, Refused):
                self._standing = wiring.rates().take(self._caller.name, self._rate, -events)


def _toll(caller: Principal, rate: Rate) -> Toll | None:
    return Toll(*caller.seen, keys.rate(caller.name, rate.text), rate) if caller.seen else None


def _exceeded(caller: Principal, events: int, standing: Standing, limits: dict[str, str]) -> RateExceeded:
    detail = (
        f"{caller.shown_as} may send {caller.rate}: {standing.left} left just now, and this takes {events}. "
        f"Try again in {standing.seconds} s."
    )
    return RateExceeded(detail, retry_after=standing.seconds, limits=limits)


def _too_many(events: int, rate: Rate) -> str:
    return f"has {events} valid events; this API key's rate, {rate.text}, lets at most {rate.burst} through at once"


def _full(rate: Rate, standing: Standing) -> str:
    return f"was sent what its rate of {rate.text} allows; there is room for one in {standing.seconds} s"


def _limits(told: list[Told]) -> dict[str, str]:
    """As in draft-ietf-httpapi-ratelimit-headers-10: quota and window; what is left of it, and for how long."""
    if not told:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{name}";q={rate.burst};w={rate.window}' for name, rate, _ in told),
        "RateLimit": ", ".join(f'"{name}";r={standing.left};t={standing.seconds}' for name, _, standing in told),
    }
