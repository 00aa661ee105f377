"""Whom a request is from, where proxies stand in front of the web.

What a proxy says in `X-Forwarded-For` and `X-Forwarded-Proto`, anybody can say. Only the proxies that
NOTIFY_TRUSTED_PROXIES names are believed; of everybody else those headers are dropped before anything reads them.
"""

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, TypeAlias, cast

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

Answering: TypeAlias = Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]
Address: TypeAlias = IPv4Address | IPv6Address

FORWARDED_FOR: Final = "HTTP_X_FORWARDED_FOR"
SAID_BY_PROXIES: Final = (FORWARDED_FOR, "HTTP_X_FORWARDED_PROTO")


@sync_and_async_middleware
def believe_ours(get_response: Answering) -> Answering:
    """Middleware after which `REMOTE_ADDR` is the client's address, and both headers are a trusted proxy's."""
    if iscoroutinefunction(get_response):

        async def later(request: HttpRequest) -> HttpResponseBase:
            sort_out(request)
            response: HttpResponseBase = await get_response(request)
            return response

        return later

    def at_once(request: HttpRequest) -> HttpResponseBase:
        sort_out(request)
        return cast("HttpResponseBase", get_response(request))

    return at_once


def sort_out(request: HttpRequest) -> None:
    """Take a trusted proxy at its word, and nobody else."""
    peer = _address(request.META.get("REMOTE_ADDR", ""))
    if peer is None or not _trusted(peer):
        for name in SAID_BY_PROXIES:
            request.META.pop(name, None)
        return
    request.META["REMOTE_ADDR"] = str(_client(peer, request.META.get(FORWARDED_FOR, "")))


def _client(peer: Address, forwarded_for: str) -> Address:
    """The nearest that is no proxy of ours: each proxy adds whom it heard from, and what is left of that is hearsay."""
    client = peer
    for text in reversed(forwarded_for.split(",")):
        told = _address(text.strip())
        if told is None:
            break
        client = told
        if not _trusted(told):
            break
    return client


def _trusted(address: Address) -> bool:
    return any(address in network for network in settings.NOTIFY_TRUSTED_PROXIES)


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # An IPv4 client of a server that listens on both looks like this; the operator wrote it the short way.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
