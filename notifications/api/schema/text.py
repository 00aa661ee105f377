"""What is said of the whole API, before its operations."""

from typing import Final

DESCRIPTION: Final = """\
JSON in and out, UTF-8. Times are RFC 3339, ids are UUIDs (version 7).

**Who may call.** `Authorization: Bearer …` with an API key, which has scopes (`send`, `read`, `manage`), or with a
recipient's token, which opens that one inbox. A member of staff's session has every scope, and needs `X-CSRFToken` for
what changes something.

**Errors** are `application/problem+json` (RFC 9457). Each operation names the statuses that it answers with. Besides
them, an address that is none is 404, a method that an address does not have is 405 (`Allow` says which it has), and the
server in front may end a request before it is one: 408 (too slow), 413 (too large) or 431 (too many headers). A 500 is
a bug of ours.

**Once.** An `Idempotency-Key` makes a request safe to send again, for 24 hours.

**How much.** What a key may send is counted in events; `RateLimit` says what is left, and 429 when to come again.

**Later releases** may add fields to answers: pass over what you do not know. What is sent is checked strictly: a field
that is none of an object's is refused.
"""

TAGS: Final = [
    {"name": "Sending", "description": "For producers: an event in, an id out."},
    {"name": "Inboxes", "description": "For readers, and for who asks in their name."},
    {"name": "Schedules", "description": "Later, or again and again."},
    {"name": "Bulk", "description": "One notification, many recipients."},
    {"name": "Dead letters", "description": "What was given up: look, correct, replay, discard."},
    {"name": "Privacy", "description": "What a recipient has a right to."},
    {"name": "Standing", "description": "Where everything stands."},
]
