"""The servers under the tests: one private PostgreSQL and one private Valkey for the whole run.

With NOTIFY_TEST_CLUSTER=3, a Valkey Cluster of three primaries in the place of the one; frames, which no cluster
carries, go through a Valkey beside it. Stacks (tests/stack.py) are made alike.

A pytest plugin (`-p tests.servers` in pyproject.toml), because the servers have to be there before
pytest-django reads the settings. Servers that the developer's environment names are left alone: their
variables are removed.
"""

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from notify_project.configuration import Configuration, variable_name
from notify_project.local.cluster import Cluster
from notify_project.local.postgresql import PostgreSQL
from notify_project.local.server import Server
from notify_project.local.valkey import Valkey

SECRET_KEY = "a-secret-for-tests-only-and-nothing-else"
KEPT = frozenset({"NOTIFY_SHARDS"})
CLUSTER = "NOTIFY_TEST_CLUSTER"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Start the servers before any other plugin's turn, as a wrapper is called before all that it wraps."""
    forget_developers_settings()
    os.environ["SECRET_KEY"] = SECRET_KEY
    if _runs_tests(early_config):
        cleanup = ExitStack()
        early_config.add_cleanup(cleanup.close)
        start_servers(cleanup)
    return (yield)


def forget_developers_settings() -> None:
    """Remove every variable that Notify reads, but the number of shards."""
    for field in Configuration.__struct_fields__:
        if variable_name(field) not in KEPT:
            os.environ.pop(variable_name(field), None)


def start_servers(cleanup: ExitStack) -> None:
    """Start the servers in a temporary folder and point the environment at them; `cleanup` ends it all."""
    folder = Path(tempfile.mkdtemp(prefix="notify-tests-"))
    cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
    servers: dict[str, Server | Cluster] = {
        "DATABASE_URL": PostgreSQL(folder / "postgresql"),
        "REDIS_URL": Valkey(folder / "valkey"),
    }
    if cluster := cluster_in(folder):
        servers |= {"CHANNEL_REDIS_URL": servers["REDIS_URL"], "REDIS_URL": cluster}
    for variable, server in servers.items():
        cleanup.callback(server.stop)
        server.start()
        os.environ[variable] = server.url


def cluster_in(folder: Path) -> Cluster | None:
    """The cluster that the run is on, in `folder` and not started; None when it is on one server."""
    primaries = int(os.environ.get(CLUSTER) or 0)
    return Cluster(folder / "cluster", primaries) if primaries else None


def _runs_tests(config: pytest.Config) -> bool:
    options = config.known_args_namespace
    return not (options.collectonly or options.help or options.version)
