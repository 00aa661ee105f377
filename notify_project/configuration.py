"""Every environment variable that Notify reads: its name, its type, its limits, its default.

The class is the one list. `settings.py` reads it, `docs/configuration.md` is checked against it, and a value that
does not fit stops the start with one line that names the variable and what it takes.
"""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Self, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from notifications.stream import addresses
from notifications.stream.addresses import AddressError

UNPREFIXED = frozenset(
    {
        "database_url",
        "database_replica_url",
        "redis_url",
        "channel_redis_url",
        "secret_key",
        "secret_key_fallbacks",
        "allowed_hosts",
        "debug",
    }
)

POSTGRESQL_URL = r"^postgres(ql)?://"
REDIS_URLS = (
    "a Redis or Valkey address: redis://, rediss://, unix://, redis+cluster://host:port,host:port "
    "or redis+sentinel://host:port,host:port/service"
)
CHANNEL_REDIS_URLS = "a Redis or Valkey address: redis://, rediss://, unix:// or redis+sentinel://host:port/service"
COMMA_LIST = "values separated by commas"
SECONDS_LIST = r"^\s*\d{1,7}(\.\d+)?(\s*,\s*\d{1,7}(\.\d+)?)*\s*$"
# An origin as browsers write it, or "*".
ORIGIN = r"(\*|[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]+)"
ORIGINS_LIST = rf"^\s*{ORIGIN}(\s*,\s*{ORIGIN})*\s*$"
# An address or a network of either kind, roughly; `networks` refuses what only looks like one.
NETWORK = r"[0-9a-fA-F.:]+(/\d{1,3})?"
NETWORKS_LIST = rf"^\s*{NETWORK}(\s*,\s*{NETWORK})*\s*$"
NETWORKS_OR_NONE = rf"^\s*(none|{NETWORK}(\s*,\s*{NETWORK})*)\s*$"
RATE = r"^[1-9][0-9]{0,8}/[smhd]$"
FAILPOINT = r"^[a-z]+\.[a-z_]+$"

# Whose value is in no message.
SECRET = frozenset(
    {
        "SECRET_KEY",
        "SECRET_KEY_FALLBACKS",
        "DATABASE_URL",
        "DATABASE_REPLICA_URL",
        "REDIS_URL",
        "CHANNEL_REDIS_URL",
        "NOTIFY_METRICS_TOKEN",
    }
)

Network = IPv4Network | IPv6Network


class ConfigurationError(ValueError):
    """An environment variable holds what it does not take; the message is one line that says so."""


def takes(rule: str, **limits: Any) -> Meta:  # noqa: ANN401 - msgspec's own limits, of as many types
    """A variable's limits, with the sentence that an operator reads when they are not kept."""
    return Meta(description=rule, **limits)


Flag = Annotated[bool, takes("true or false")]
PositiveInt = Annotated[int, takes("a whole number, 1 or more", ge=1)]
Seconds = Annotated[float, takes("seconds, more than 0", gt=0)]


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """What the environment says, checked. A field `shards` is the variable `NOTIFY_SHARDS`."""

    database_url: Annotated[
        str, takes("a PostgreSQL address: postgresql://user:password@host:port/name", pattern=POSTGRESQL_URL)
    ] = ""
    database_replica_url: Annotated[
        str, takes("the address of a replica: postgresql://user:password@host:port/name", pattern=POSTGRESQL_URL)
    ] = ""
    redis_url: Annotated[str, takes(REDIS_URLS)] = ""
    channel_redis_url: Annotated[str, takes(CHANNEL_REDIS_URLS)] = ""
    secret_key: Annotated[str, takes("a secret of 32 or more characters", min_length=32)] = ""
    secret_key_fallbacks: Annotated[str, takes(COMMA_LIST)] = ""
    allowed_hosts: Annotated[str, takes(COMMA_LIST)] = "localhost,127.0.0.1,[::1]"
    debug: Flag = False
    https: Flag = False
    trusted_proxies: Annotated[
        str,
        takes("addresses or networks (10.0.0.7, 10.1.0.0/16), separated by commas", pattern=NETWORKS_LIST),
    ] = ""
    sign_in_failures: PositiveInt = 5
    sign_in_pause_seconds: PositiveInt = 900

    shards: Annotated[int, takes("a whole number from 1 to 1024", ge=1, le=1024)] = 1
    max_backlog: PositiveInt = 1_000_000
    idempotency_hours: PositiveInt = 24
    recipient_rate: Annotated[str, takes("a number and a unit of time: 20/m, 1/s, 500/d", pattern=RATE)] = ""
    redis_timeout: Seconds = 2.0
    accept_replicas: Annotated[int, takes("a whole number from 0 to 5", ge=0, le=5)] = 0
    batch_size: Annotated[int, takes("a whole number from 1 to 1000", ge=1, le=1000)] = 1000
    claim_idle_seconds: Annotated[float, takes("seconds, 5 or more", ge=5)] = 10.0
    retry_delays: Annotated[str, takes("seconds, separated by commas: one for each retry", pattern=SECONDS_LIST)] = (
        "1,5,15,30,60"
    )
    retention_days: Annotated[int, takes("days, a whole number from 0 (for ever) to 36500", ge=0, le=36500)] = 0
    partition_days: Annotated[
        int, takes("days, a whole number from 0 (by NOTIFY_RETENTION_DAYS) to 3660", ge=0, le=3660)
    ] = 0
    dead_letter_retention_days: Annotated[int, takes("days, a whole number from 1 to 36500", ge=1, le=36500)] = 90
    schedule_retention_days: PositiveInt = 30
    bulk_retention_days: PositiveInt = 30
    fault_injection: Flag = False
    failpoint: Annotated[str, takes("the name of a failpoint, worker.stored for one", pattern=FAILPOINT)] = ""
    database_pool: Annotated[int, takes("a whole number from 1 to 1000", ge=1, le=1000)] = 16
    database_pooler: Annotated[str, takes("none or transaction", pattern=r"^(none|transaction)$")] = "none"
    heartbeat_seconds: Annotated[int, takes("seconds, from 1 to 60", ge=1, le=60)] = 30
    sockets_per_recipient: PositiveInt = 20
    allowed_origins: Annotated[
        str,
        takes(
            "origins (scheme and host, lower case, no path: https://app.example.org), separated by commas, or *",
            pattern=ORIGINS_LIST,
        ),
    ] = ""
    metrics_token: Annotated[str, takes("a secret of 16 or more characters", min_length=16)] = ""
    metrics_networks: Annotated[
        str,
        takes(
            "addresses or networks (10.0.0.7, 10.1.0.0/16), separated by commas, or none",
            pattern=NETWORKS_OR_NONE,
        ),
    ] = "127.0.0.0/8,::1/128"
    metrics_dir: Annotated[str, takes("a folder")] = ""
    health_host: Annotated[str, takes("an address of this machine")] = "127.0.0.1"
    health_port: Annotated[int, takes("a port, from 1 to 65535; 0: none", ge=0, le=65535)] = 0
    drift_sample: Annotated[int, takes("a whole number from 0 to 10000", ge=0, le=10_000)] = 100
    log_level: Annotated[str, takes("DEBUG, INFO, WARNING or ERROR", pattern=r"^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"
    log_format: Annotated[str, takes("console or json", pattern=r"^(console|json)$")] = "console"
    access_log: Flag = False
    tracing: Flag = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read and check every variable that is set and not empty; raises ConfigurationError."""
        hints = get_type_hints(cls, include_extras=True)
        values = {}
        for field, annotation in hints.items():
            name = variable_name(field)
            if environment.get(name, "") != "":
                values[field] = _convert(name, environment[name], annotation)
        configuration = cls(**values)
        configuration.check_channel_layer()
        return configuration

    def check_channel_layer(self) -> None:
        """Live frames need a server that is no cluster: channels_redis speaks to none. Raises ConfigurationError."""
        if _is_cluster(self.channel_redis_url):
            raise ConfigurationError(f"CHANNEL_REDIS_URL: live frames need no cluster; it takes {CHANNEL_REDIS_URLS}")
        if _is_cluster(self.redis_url) and not self.channel_redis_url:
            raise ConfigurationError(
                f"CHANNEL_REDIS_URL is not set, and live frames cannot go by the cluster that REDIS_URL names; "
                f"it takes {CHANNEL_REDIS_URLS}"
            )

    def require(self, *fields: str) -> None:
        """Stop the start, with one line that says what is missing, unless all of these are set."""
        hints = get_type_hints(type(self), include_extras=True)
        for field in fields:
            if not getattr(self, field):
                raise SystemExit(f"notify: {variable_name(field)} is not set; it takes {_rule(hints[field])}")


def variable_name(field: str) -> str:
    """The environment variable behind a field of Configuration."""
    return field.upper() if field in UNPREFIXED else f"NOTIFY_{field.upper()}"


def split_list(value: str) -> list[str]:
    """`"a, b"` as `["a", "b"]`; an empty text is an empty list."""
    return [item.strip() for item in value.split(",") if item.strip()]


def networks(field: str, value: str) -> list[Network]:
    """Addresses and networks, separated by commas, of a field of Configuration. Raises ConfigurationError."""
    try:
        return [ip_network(item) for item in split_list(value)]
    except ValueError as error:
        raise ConfigurationError(f"{variable_name(field)}: {error}") from None


def _convert(name: str, text: str, annotation: Any) -> Any:  # noqa: ANN401 - a type, and a value of it
    try:
        value = msgspec.convert(text.strip(), annotation, strict=False)
        if name.endswith("REDIS_URL"):
            addresses.parse(value)
        elif name.endswith("_URL"):
            # A password that is not quoted makes its end look like a port, which Python names in full.
            _ = urlsplit(value).port
    except ValueError as error:
        shown = "the value given" if name in SECRET else repr(text)
        why = f": {error}" if isinstance(error, AddressError) else ""
        raise ConfigurationError(f"{name}: {shown} does not fit{why}; it takes {_rule(annotation)}") from None
    else:
        return value


def _is_cluster(url: str) -> bool:
    return bool(url) and addresses.parse(url).kind == "cluster"


def _rule(annotation: Any) -> str:  # noqa: ANN401 - a type
    metas = (meta for meta in annotation.__metadata__ if isinstance(meta, Meta))
    return next(meta.description for meta in metas if meta.description)
