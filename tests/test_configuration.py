"""Every variable is checked at the start, and told to people as it is."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from notify_project.configuration import Configuration, ConfigurationError, variable_name
from tests.stack import clean_environment

pytestmark = pytest.mark.one_shard_is_enough

PROJECT = Path(__file__).resolve().parent.parent
PAGE = (PROJECT / "docs" / "configuration.md").read_text()
ROW = re.compile(r"^\| `([A-Z_]+)` \| ([^|]*) \|", re.MULTILINE)


def test_nothing_set_is_the_defaults() -> None:
    assert Configuration.from_environment({}) == Configuration()
    assert Configuration.from_environment({"NOTIFY_SHARDS": "", "DEBUG": ""}) == Configuration()


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("NOTIFY_SHARDS", "64", "shards", 64),
        ("NOTIFY_REDIS_TIMEOUT", "0.5", "redis_timeout", 0.5),
        ("DEBUG", "true", "debug", True),
        ("DEBUG", "0", "debug", False),
        ("REDIS_URL", "rediss://host:1/2", "redis_url", "rediss://host:1/2"),
        ("REDIS_URL", "redis+sentinel://:x@a:1,b/main", "redis_url", "redis+sentinel://:x@a:1,b/main"),
        ("DATABASE_URL", " postgres://host/name ", "database_url", "postgres://host/name"),
        ("NOTIFY_LOG_LEVEL", "WARNING", "log_level", "WARNING"),
    ],
)
def test_a_variable_is_taken(name: str, value: str, field: str, expected: Any) -> None:
    assert getattr(Configuration.from_environment({name: value}), field) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOTIFY_SHARDS", "0"),
        ("NOTIFY_SHARDS", "1025"),
        ("NOTIFY_SHARDS", "four"),
        ("NOTIFY_SHARDS", "1.5"),
        ("NOTIFY_MAX_BACKLOG", "-1"),
        ("NOTIFY_REDIS_TIMEOUT", "0"),
        ("NOTIFY_CLAIM_IDLE_SECONDS", "1"),
        ("NOTIFY_LOG_FORMAT", "xml"),
        ("DEBUG", "perhaps"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "redis+cluster://a:1,b:/"),
        ("REDIS_URL", "redis+cluster://a:1,b:70000"),
        ("REDIS_URL", "redis+cluster://a:1/3"),
        ("REDIS_URL", "redis+sentinel://a:1,b:2"),
        ("CHANNEL_REDIS_URL", "redis+cluster://a:1"),
        ("DATABASE_URL", "sqlite:///db"),
        ("SECRET_KEY", "short"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_the_variable_takes(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}: .* it takes .+") as caught:
        Configuration.from_environment({name: value})
    assert "\n" not in str(caught.value)


def test_a_cluster_needs_another_server_for_live_frames() -> None:
    cluster = {"REDIS_URL": "redis+cluster://user:hunter2@a:1,b:2"}
    with pytest.raises(ConfigurationError, match=r"^CHANNEL_REDIS_URL is not set, and live frames") as caught:
        Configuration.from_environment(cluster)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
    Configuration.from_environment(cluster | {"CHANNEL_REDIS_URL": "redis://c"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://user:hunter2@host"),
        ("DATABASE_URL", "postgresql://user:hunter2/x@host/name"),
        ("DATABASE_URL", "postgresql://user:hunter2#x@host/name"),
        ("REDIS_URL", "redis://:hunter2/x@host"),
        ("REDIS_URL", "rediss://:hunter2[x@host"),
        ("CHANNEL_REDIS_URL", "redis://:hunter2/x@host"),
        ("SECRET_KEY", "hunter2"),
    ],
)
def test_a_secret_is_not_in_the_message(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}: the value given does not fit; it takes") as caught:
        Configuration.from_environment({name: value})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("field", Configuration.__struct_fields__)
def test_the_page_lists_every_variable_with_its_default(field: str) -> None:
    default = getattr(Configuration(), field)
    shown = dict(ROW.findall(PAGE))[variable_name(field)]
    if default == "":
        assert shown.startswith(("none", "empty"))
    else:
        text = str(default).lower() if isinstance(default, bool) else str(default).removesuffix(".0")
        assert shown == f"`{text}`"


def test_the_page_lists_no_variable_that_is_not_read() -> None:
    assert {name for name, _ in ROW.findall(PAGE)} == {
        variable_name(field) for field in Configuration.__struct_fields__
    }


def start(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT,
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


WORKER = ("manage.py", "worker")
WEB = ("-m", "notify_project.gateway", "-p", "0")


@pytest.mark.parametrize(
    ("command", "variables", "message"),
    [
        (
            WORKER,
            {"NOTIFY_SHARDS": "none"},
            "NOTIFY_SHARDS: 'none' does not fit; it takes a whole number",
        ),
        (WORKER, {}, "DATABASE_URL is not set"),
        (WORKER, {"DATABASE_URL": "postgresql://x/y"}, "REDIS_URL is not set"),
        (WEB, {"DATABASE_URL": "postgresql://x/y", "REDIS_URL": "redis://x"}, "SECRET_KEY is not set"),
        (WEB, {"NOTIFY_HEARTBEAT_SECONDS": "61"}, "NOTIFY_HEARTBEAT_SECONDS: '61' does not fit"),
        (("manage.py", "send", "alice", "hello"), {}, "REDIS_URL is not set"),
    ],
)
def test_a_start_that_cannot_be_is_one_line_and_exit_code_1(
    command: tuple[str, ...], variables: dict[str, str], message: str
) -> None:
    ended = start(*command, **variables)
    assert ended.returncode == 1
    assert message in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
