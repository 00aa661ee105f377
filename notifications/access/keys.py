"""API keys: made here, known to PostgreSQL by their digest, mirrored in Redis so that accepting needs no database.

A revocation reaches Redis before PostgreSQL and stands there as a tombstone, which nothing that fills the mirror may
replace: so it holds from that moment on, whoever reads what at the same time. Every worker mirrors all keys anew now
and then (`mirror_all`), which mends what a crash between the two servers may have left.
"""

import hashlib
import re
import secrets
import string
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from typing import Any, Final
from zlib import crc32

import msgspec
from django.utils import timezone

from notifications import wiring
from notifications.access.models import ApiKey
from notifications.access.principal import SCOPES, Scope, Seen
from notifications.stream import keys, scripts
from notifications.stream.cluster import AWAY

PREFIX: Final = "nk_"
ALPHABET: Final = string.ascii_letters + string.digits
RANDOM_CHARACTERS: Final = 32
CHECK_CHARACTERS: Final = 6
SHOWN_CHARACTERS: Final = 9

RATE: Final = re.compile(r"[1-9][0-9]{0,8}/[smhd]")
RATE_RULE: Final = "must be a number and a unit of time: 1000/s, 20/m, 500/h, 10000/d"

# So many keys a process remembers; with one more it forgets them, and learns anew those that are used.
MOST_REMEMBERED: Final = 1000


class Grant(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a key may do, as its mirror in Redis holds it. Revoked: nothing, for ever."""

    id: int
    name: str
    scopes: list[Scope]
    rate: str
    revoked: bool = False


_grant_decoder = msgspec.json.Decoder(Grant)
_remembered: Final[dict[str, tuple[Grant, Seen]]] = {}


def new_secret() -> str:
    """A fresh key: `nk_`, 32 random letters and digits (190 bits), six that check it for typing errors."""
    random = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARACTERS))
    return PREFIX + random + _check(random)


def create(name: str, scopes: Iterable[Scope] = SCOPES, rate: str = "1000/s") -> tuple[ApiKey, str]:
    """Make a key; the second value is the key itself, which is shown now and never again."""
    secret = new_secret()
    return adopt(secret, name, scopes, rate), secret


def adopt(secret: str, name: str, scopes: Iterable[Scope] = SCOPES, rate: str = "1000/s") -> ApiKey:
    """Make a given key known to PostgreSQL and Redis; one that is known already stays as it is."""
    key, _ = ApiKey.objects.get_or_create(
        digest=digest(secret),
        defaults={
            "name": name,
            "prefix": secret[:SHOWN_CHARACTERS],
            "scopes": sorted(set(scopes)),
            "rate": rate,
        },
    )
    mirror(key)
    return key


def revoke(key: ApiKey) -> None:
    """End a key, at once and for good."""
    key.revoked_at = key.revoked_at or timezone.now()
    mirror(key)
    key.save(update_fields=["revoked_at"])
    # Once more: a change of its scopes, under way at the same time, may have come between.
    mirror(key)


def find(secret: str) -> Grant | None:
    """What a key may do; None when there is no such key, or it was revoked.

    From Redis; a key that Redis does not know (a flushed server) is looked up in PostgreSQL and mirrored again. So is
    one whose node of a cluster is away, as others may be there.
    """
    if not well_formed(secret):
        return None
    key_digest = digest(secret)
    name = keys.api_key(key_digest)
    mirrored = _mirrored(name)
    grant = _grant_decoder.decode(mirrored) if mirrored else _from_database(key_digest)
    if grant is None or grant.revoked:
        _remembered.pop(key_digest, None)
        return None
    if mirrored:
        _remember(key_digest, grant, Seen(name, mirrored))
    return grant


def remembered(secret: str) -> tuple[Grant, Seen] | None:
    """What a key might do when this process looked last, which nobody may be told before it is known to hold still."""
    return _remembered.get(digest(secret))


def mirror(key: ApiKey) -> None:
    """Bring a key's mirror up to date, over whatever it holds."""
    wiring.shards().client.set(keys.api_key(key.digest), msgspec.json.encode(_grant(key)))


def mirror_all() -> None:
    """Mirror every key as PostgreSQL has it now; no tombstone is replaced by a key that was read as active."""
    for key in ApiKey.objects.iterator():
        if key.revoked_at:
            mirror(key)
        elif not _mirror_if_absent(key):
            _mend(key)


def well_formed(secret: str) -> bool:
    """Whether a text can be a key at all: told without asking any server, so that junk costs none of them."""
    random = secret[len(PREFIX) : -CHECK_CHARACTERS]
    return (
        secret.startswith(PREFIX)
        and secret.isascii()
        and len(random) == RANDOM_CHARACTERS
        and secrets.compare_digest(secret[-CHECK_CHARACTERS:], _check(random))
    )


def digest(secret: str) -> str:
    """What is stored of a key. A plain hash is enough, and fast: nobody guesses 190 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _check(random: str) -> str:
    value, characters = crc32(random.encode()), ""
    for _ in range(CHECK_CHARACTERS):
        value, digit = divmod(value, len(ALPHABET))
        characters += ALPHABET[digit]
    return characters


def _remember(key_digest: str, grant: Grant, seen: Seen) -> None:
    if len(_remembered) >= MOST_REMEMBERED and key_digest not in _remembered:
        _remembered.clear()
    _remembered[key_digest] = (grant, seen)


def _mirrored(name: str) -> bytes | None:
    shards = wiring.shards()
    try:
        found: Any = shards.client.get(name)
    except AWAY:
        if shards.is_one_server:
            raise
        return None
    else:
        return found if found is None else bytes(found)


def _from_database(key_digest: str) -> Grant | None:
    key = ApiKey.objects.filter(digest=key_digest).first()
    if key is None:
        return None
    with nullcontext() if wiring.shards().is_one_server else suppress(*AWAY):
        _mirror_if_absent(key)
    return _grant(key)


def _mirror_if_absent(key: ApiKey) -> bool:
    return bool(wiring.shards().client.set(keys.api_key(key.digest), msgspec.json.encode(_grant(key)), nx=True))


def _mend(key: ApiKey) -> None:
    """Replace a mirror that says something else, unless it is a tombstone, or changes at this moment."""
    client, name = wiring.shards().client, keys.api_key(key.digest)
    mirrored: Any = client.get(name)
    wanted = msgspec.json.encode(_grant(key))
    if mirrored and mirrored != wanted and not _grant_decoder.decode(mirrored).revoked:
        scripts.run(client, "replace", [name], [mirrored, wanted])


def _grant(key: ApiKey) -> Grant:
    return Grant(key.pk, key.name, key.scopes, key.rate, revoked=key.revoked_at is not None)
