"""Who is calling, for DRF: `Authorization: Bearer …` with an API key or a recipient token, or a staff session."""

from collections.abc import Mapping
from typing import Any, Final

from django.db import DatabaseError
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, PermissionDenied
from rest_framework.request import Request

from notifications.access import keys, rates, tokens
from notifications.access.keys import Grant
from notifications.access.principal import SCOPES, Principal, Scope, Seen
from notifications.exceptions import Unavailable

CHALLENGE: Final = 'Bearer realm="notify"'
RETRY_SECONDS: Final = 2


class _Session(SessionAuthentication):
    """Django's session, its CSRF check over Django's own request: DRF's has no parsers, and would answer 415."""

    def enforce_csrf(self, request: Request) -> None:
        super().enforce_csrf(request._request)  # type: ignore[arg-type]  # noqa: SLF001 - as DRF reaches it


class NotifyAuthentication(BaseAuthentication):
    """A bearer token decides alone where there is one; a session counts only without."""

    def authenticate(self, request: Request) -> tuple[Principal, Principal] | None:
        """The caller, or None when nobody says who it is."""
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if not header:
            return _staff(request)
        scheme, _, credentials = header.partition(" ")
        if scheme.lower() != "bearer" or not credentials.strip():
            raise AuthenticationFailed("The Authorization header must be: Bearer <API key or recipient token>.")
        caller = _bearer(credentials.strip())
        return caller, caller

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - DRF's signature
        """What a 401 asks for."""
        return CHALLENGE


def remembered(asked: Mapping[str, Any], needed: Scope) -> Principal | None:
    """The caller as this process saw it last, if that had a scope; None where it has to be looked at.

    `asked`: the request's headers and so on, by the names that CGI gives them.
    For views that have Redis confirm who calls, in the moment it does something for them (admit.lua).
    """
    scheme, _, credentials = asked.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "bearer" or not rates.is_one_script():
        return None
    found = keys.remembered(credentials.strip())
    return _of_key(*found) if found and needed in found[0].scopes else None


def caller_of(request: Request) -> Principal:
    """The caller of a view that only known callers reach."""
    caller: object = request.auth
    if not isinstance(caller, Principal):
        raise NotAuthenticated
    return caller


def _bearer(credentials: str) -> Principal:
    if not credentials.startswith(keys.PREFIX):
        token = tokens.verify(credentials)
        if token is None:
            raise AuthenticationFailed("The token is not valid, or no longer.")
        return Principal(f"recipient:{token.recipient}", f"recipient {token.recipient}", recipient=token.recipient)
    try:
        grant = keys.find(credentials)
    except DatabaseError as error:
        # Redis does not know the key and PostgreSQL cannot be asked: nobody can tell, so nobody is turned away.
        raise Unavailable("The API key cannot be checked just now.", retry_after=RETRY_SECONDS) from error
    if grant is None:
        raise AuthenticationFailed("The API key is not valid, or no longer.")
    return _of_key(grant)


def _of_key(grant: Grant, seen: Seen | None = None) -> Principal:
    scopes = frozenset(grant.scopes)
    return Principal(f"key:{grant.id}", f'API key "{grant.name}"', scopes=scopes, rate=grant.rate, seen=seen)


def _staff(request: Request) -> tuple[Principal, Principal] | None:
    found = _Session().authenticate(request)
    if found is None:
        return None
    user = found[0]
    if not user.is_staff:
        raise PermissionDenied("Only members of staff may use the API with a session.")
    caller = Principal(f"staff:{user.pk}", user.get_username(), scopes=frozenset(SCOPES), staff=True)
    return caller, caller
