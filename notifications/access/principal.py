"""Who is calling: a producer with an API key, a recipient with a token, or a member of staff in a session."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Scope = Literal["send", "read", "manage"]
SCOPES: Final[tuple[Scope, ...]] = ("send", "read", "manage")


class Seen(NamedTuple):
    """An API key's mirror in Redis, its key and what it held when it was looked at last."""

    name: str
    mirror: bytes


@dataclass(frozen=True)
class Principal:
    """A caller who is known. `name` is unique and tells callers apart, in idempotency records for one.

    `shown_as` is for people, who read in a record who did it: a user's name, `API key "billing"`. `rate` is how many
    events it may send, `1000/s`; empty: as many as it likes. `seen`: it is as this process saw it before,
    and whoever does something for it makes sure that this is so still (admit.lua); None: it was looked at just now.
    """

    name: str
    shown_as: str
    scopes: frozenset[str] = frozenset()
    recipient: str | None = None
    staff: bool = False
    rate: str = ""
    seen: Seen | None = None

    # What Django and DRF ask of a user.
    is_authenticated = True
    is_active = True
    is_anonymous = False

    def may(self, scope: Scope) -> bool:
        """Whether the caller has a scope."""
        return scope in self.scopes

    def owns(self, recipient: str) -> bool:
        """Whether the inbox is the caller's own."""
        return self.recipient is not None and self.recipient == recipient
