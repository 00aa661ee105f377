"""Where Redis is, as REDIS_URL tells it: one server, a cluster, or a primary that Sentinels know of."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from redis.connection import parse_url

Kind = Literal["server", "cluster", "sentinel"]

CLUSTER_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
CREDENTIALS: Final = ("username", "password")
SCHEMES: Final = re.compile(r"^(redis|rediss|unix|rediss?\+(cluster|sentinel))://")
SERVICE: Final = re.compile(r"^/[A-Za-z0-9._-]+$")
HOST: Final = re.compile(r"^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?$")


class AddressError(ValueError):
    """An address that breaks a rule; the message is the rule, and holds nothing of the address."""


class Place(NamedTuple):
    """One address: a host and a port."""

    host: str
    port: int


class Address(NamedTuple):
    """What a URL says. `options` are a connection's, by redis-py's names; `url` is what one server is reached by.

    `asking`: the same of a connection to a Sentinel, beyond what it has in common with one to its primary.
    """

    kind: Kind
    url: str
    places: tuple[Place, ...] = ()
    service: str = ""
    options: Mapping[str, Any] = {}
    asking: Mapping[str, Any] = {}


def parse(url: str) -> Address:
    """Take an address apart: redis://, rediss://, unix://, redis+cluster://, redis+sentinel:// and both with TLS.

    Raises AddressError; and ValueError where it is no URL at all.
    """
    if not SCHEMES.match(url):
        raise AddressError("it begins with redis://, rediss://, unix://, redis+cluster:// or redis+sentinel://")
    scheme, _, kind = urlsplit(url).scheme.partition("+")
    if kind == "cluster":
        return _cluster(scheme, url)
    if kind == "sentinel":
        return _sentinel(scheme, url)
    # A password that is not quoted makes its end look like a port, which Python names in full.
    _ = urlsplit(url).port
    return Address("server", url)


def _cluster(scheme: str, url: str) -> Address:
    if urlsplit(url).path not in {"", "/", "/0"}:
        raise AddressError("a cluster has one database: nothing but host:port,host:port follows redis+cluster://")
    return Address("cluster", url, _places(url, CLUSTER_PORT), "", _options(scheme, url))


def _sentinel(scheme: str, url: str) -> Address:
    path = urlsplit(url).path
    if not SERVICE.match(path):
        raise AddressError("a service's name follows the Sentinels: redis+sentinel://host:port,host:port/service")
    options = _options(scheme, url)
    asking = {name: options.pop(f"sentinel_{name}") for name in CREDENTIALS if f"sentinel_{name}" in options}
    return Address("sentinel", url, _places(url, SENTINEL_PORT), path[1:], options, asking)


def _places(url: str, default_port: int) -> tuple[Place, ...]:
    found = []
    for place in urlsplit(url).netloc.rpartition("@")[2].split(","):
        match = HOST.match(place.strip())
        if not match or int(match[2] or default_port) not in range(1, 65536):
            raise AddressError("hosts and ports are separated by commas: host:port,host:port")
        found.append(Place(match[1].strip("[]"), int(match[2] or default_port)))
    return tuple(found)


def _options(scheme: str, url: str) -> dict[str, Any]:
    """User, password, TLS and what the query says, as redis-py reads them from the URL of one server."""
    parts = urlsplit(url)
    credentials = parts.netloc.rpartition("@")[0]
    options: dict[str, Any] = parse_url(  # type: ignore[no-untyped-call]
        urlunsplit((scheme, f"{credentials}@localhost", "", parts.query, ""))
    )
    del options["host"]
    return options
