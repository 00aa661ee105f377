"""Recipient tokens: a JWT that opens one recipient's inbox, until it expires, and nothing else."""

import time
from contextlib import suppress
from typing import Final, NamedTuple

import jwt
from django.conf import settings
from django.utils.crypto import salted_hmac

ALGORITHM: Final = "HS256"
AUDIENCE: Final = "notify.inbox"
DEFAULT_SECONDS: Final = 3600
MAX_SECONDS: Final = 86_400


class RecipientToken(NamedTuple):
    """A verified token: whose inbox, and until when (Unix seconds)."""

    recipient: str
    expires_at: int


def issue(recipient: str, seconds: int) -> tuple[str, int]:
    """A token for a recipient, and when it expires (Unix seconds)."""
    now = int(time.time())
    claims = {"sub": recipient, "aud": AUDIENCE, "iat": now, "exp": now + seconds}
    return jwt.encode(claims, _signing_key(settings.SECRET_KEY), algorithm=ALGORITHM), now + seconds


def verify(token: str) -> RecipientToken | None:
    """Whose token this is; None when it is not one of ours, or expired.

    Keys in SECRET_KEY_FALLBACKS still verify, so a key is changed without throwing everybody out.
    """
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        with suppress(jwt.InvalidTokenError):
            return _read(token, secret)
    return None


def has_expired(token: str) -> bool:
    """Whether this is a token of ours that only its time keeps from being valid."""
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            _read(token, secret)
        except jwt.ExpiredSignatureError:
            return True
        except jwt.InvalidTokenError:
            continue
    return False


def _read(token: str, secret: str) -> RecipientToken:
    claims = jwt.decode(
        token,
        _signing_key(secret),
        algorithms=[ALGORITHM],
        audience=AUDIENCE,
        options={"require": ["sub", "exp", "aud"]},
    )
    return RecipientToken(claims["sub"], int(claims["exp"]))


def _signing_key(secret: str) -> bytes:
    """A key of our own from the project's secret: what signs sessions signs no tokens."""
    return salted_hmac("notify.recipient-token", "HS256", secret=secret, algorithm="sha256").digest()
