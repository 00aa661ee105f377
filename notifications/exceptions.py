"""What can go wrong, each with its decision in it. An exception's docstring is its message to a developer."""

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """One broken rule: where (a JSON pointer into what was sent, RFC 6901) and which."""

    pointer: str
    detail: str


class NotifyError(Exception):
    """The root of everything that Notify raises on purpose."""


class Invalid(NotifyError):
    """What was sent can never succeed: it breaks a rule. Refused at the door, dead at once in the worker."""

    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = errors
        super().__init__("; ".join(f"{error.pointer or '/'}: {error.detail}" for error in errors))


class Retry(NotifyError):
    """This attempt failed, and another may succeed: the event is tried again later, a few times."""


class IdempotencyConflict(NotifyError):
    """The idempotency key was used within its life for a request with another body."""


class Refused(NotifyError):
    """Nothing was accepted, and nothing is wrong with the request: come back after `retry_after` seconds."""

    # Whether its idempotency key holds a reservation all the same: the next request with it goes on with this one.
    reserved = False

    def __init__(self, detail: str, *, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(detail)


class CallerChanged(NotifyError):
    """The caller is not, or not for certain, as this process saw it last. Nothing was done: look, and begin anew."""


class BacklogFull(Refused):
    """More events wait than `NOTIFY_MAX_BACKLOG` allows."""


class RateExceeded(Refused):
    """The caller has sent, or the recipient been sent, what its rate allows. `limits`: the RateLimit fields."""

    def __init__(self, detail: str, *, retry_after: int, limits: dict[str, str]) -> None:
        self.limits = limits
        super().__init__(detail, retry_after=retry_after)


class RecipientRateExceeded(RateExceeded):
    """It is the recipient's rate that is used up."""


class Unavailable(Refused):
    """A server that this call cannot do without does not answer."""


class OtherShards(NotifyError):
    """Redis is filled with another number of shards: whoever began with this one would write where nobody reads."""

    def __init__(self, ours: int, found: int) -> None:
        super().__init__(
            f"NOTIFY_SHARDS is {ours}, but Redis is filled with {found}: start with NOTIFY_SHARDS={found}; or drain "
            f"Redis with that, stop every process, and run `manage.py change_shards` with NOTIFY_SHARDS={ours} "
            "(docs/upgrade.md)"
        )


class StillWaits(NotifyError):
    """Redis holds what is nowhere else, or somebody works with it: the message says what, and who."""
