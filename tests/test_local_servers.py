"""The private servers: what they survive, and what they leave behind."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dj_database_url
import psutil
import psycopg
import pytest
import redis

from notify_project.local.exceptions import StartError
from notify_project.local.folders import LONGEST_SOCKET_PATH, claim, socket_folder, write_private
from notify_project.local.ledger import Ledger
from notify_project.local.postgresql import PostgreSQL
from notify_project.local.processes import Account, Identity, spawn
from notify_project.local.server import Server
from notify_project.local.valkey import Valkey
from tests.stack import clean_environment, wait_until

pytestmark = pytest.mark.one_shard_is_enough

ORPHAN_MAKER = """
import sys, time
from pathlib import Path
from notify_project.local.valkey import Valkey
server = Valkey(Path(sys.argv[1]))
server.start()
print(server.process.pid, flush=True)
time.sleep(600)
"""

STRANGER = ("sleep", "600")

Make = Callable[[Path], Server]
StartStranger = Callable[[Account | None], subprocess.Popen[bytes]]


@pytest.fixture(params=[PostgreSQL, Valkey])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes servers of one kind, in a folder; those that still run in the end are stopped."""
    with ExitStack() as cleanup:

        def make_in(data: Path) -> Server:
            server: Server = request.param(data)
            # Beside the data, where pytest cleans up, unless the path was too long.
            cleanup.callback(shutil.rmtree, server.socket.parent, ignore_errors=True)
            cleanup.callback(server.stop)
            return server

        yield make_in


only_postgresql = pytest.mark.parametrize("make", [PostgreSQL], indirect=True)
only_valkey = pytest.mark.parametrize("make", [Valkey], indirect=True)


@pytest.fixture
def start_stranger() -> Iterator[StartStranger]:
    """Starts processes that have nothing to do with Notify."""
    with ExitStack() as cleanup:

        def start(account: Account | None) -> subprocess.Popen[bytes]:
            process = spawn(STRANGER, environment=os.environ, folder=Path("/"), account=account)
            cleanup.callback(process.wait)
            cleanup.callback(process.kill)
            return process

        yield start


def runs(pid: int) -> bool:
    """Whether a process is alive; an ended one that nobody has asked about yet is not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def remember(server: Server, value: str) -> None:
    """Have a server acknowledge a value."""
    if isinstance(server, Valkey):
        redis.Redis.from_url(server.url).set("value", value)
    else:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE remembered AS SELECT %s::text AS value", [value])


def recall(server: Server) -> str:
    """What `remember` gave it."""
    if isinstance(server, Valkey):
        return bytes(redis.Redis.from_url(server.url).get("value") or b"").decode()  # type: ignore[arg-type]
    with psycopg.connect(server.url) as connection:
        rows = connection.execute("SELECT value FROM remembered").fetchall()
    return str(rows[0][0])


def test_what_was_acknowledged_is_there_after_a_kill(make: Make, tmp_path: Path) -> None:
    server = make(tmp_path / "data")
    server.start()
    remember(server, "kept")
    server.kill()
    server.start()
    assert recall(server) == "kept"


def test_a_server_left_alive_by_an_earlier_run_is_ended_first(make: Make, tmp_path: Path) -> None:
    orphan, server = make(tmp_path / "data"), make(tmp_path / "data")
    orphan_process = orphan.start()
    remember(orphan, "kept")
    server.start()
    assert orphan_process.poll() is not None
    assert recall(server) == "kept"


def test_a_pid_file_whose_number_went_to_another_program_is_no_obstacle(
    make: Make, start_stranger: StartStranger, tmp_path: Path
) -> None:
    server = make(tmp_path / "data")
    server.start()
    written = server.pid_file.read_text()
    server.kill()
    # The same user as the server's: only then would PostgreSQL believe the file.
    stranger = start_stranger(server.account)
    server.pid_file.write_text(written.replace(written.split()[0], str(stranger.pid), 1))
    server.start()
    assert stranger.poll() is None, "somebody else's process was signalled"


def test_a_stopped_server_is_gone_and_its_address_with_it(make: Make, tmp_path: Path) -> None:
    server = make(tmp_path / "data")
    pid = server.start().pid
    server.stop()
    assert not runs(pid)
    assert not server.answers()


@pytest.mark.parametrize("name", ["x" * 100, 'Über uns, 100% "quoted" it\'s'])
def test_any_folder_name_will_do(make: Make, name: str, tmp_path: Path) -> None:
    data = tmp_path / name / "data"
    data.parent.mkdir()
    server = make(data)
    server.start()
    remember(server, "kept")
    assert recall(server) == "kept"


@only_postgresql
def test_a_first_start_cut_short_leaves_no_half_database(make: Make, tmp_path: Path) -> None:
    server = make(tmp_path / "postgresql")
    half = tmp_path / "postgresql.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    server.start()
    assert not half.exists()


def test_a_capital_letter_in_the_path_reaches_django(tmp_path: Path) -> None:
    server = PostgreSQL(tmp_path / "My-Data")
    assert dj_database_url.parse(server.url)["HOST"] == str(server.socket.parent)


@only_valkey
def test_valkey_is_set_to_lose_nothing(make: Make, tmp_path: Path) -> None:
    server = make(tmp_path / "valkey")
    server.start()
    client = redis.Redis.from_url(server.url, decode_responses=True)
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "port": "0"}
    assert client.config_get(*wanted) == wanted
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_a_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN_MAKER, tmp_path / "valkey"],
        stdout=subprocess.PIPE,
        env=clean_environment(),
        cwd=Path(__file__).parent.parent,
    )
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    assert runs(server)
    parent.kill()
    parent.communicate()
    wait_until(lambda: not runs(server), timeout=10, message="the server outlived its parent")


def test_a_socket_stands_beside_its_data_unless_the_path_is_too_long(tmp_path: Path) -> None:
    assert socket_folder(Path("/srv/notify/var/valkey"), "valkey.sock") == Path("/srv/notify/var/valkey")
    far = socket_folder(Path("/srv") / ("x" * 100), "valkey.sock")
    assert len(str(far / "valkey.sock")) <= LONGEST_SOCKET_PATH
    assert far != socket_folder(Path("/srv") / ("y" * 100), "valkey.sock")


def test_a_socket_does_without_a_long_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/" + "t" * 100)
    assert socket_folder(Path("/srv/a,b"), "valkey.sock").parent == Path("/tmp")  # noqa: S108 - claim() checks it


def test_a_folder_that_is_really_a_link_is_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(StartError):
        claim(tmp_path / "link")


def test_a_private_file_is_for_its_owner_alone_even_while_it_is_written(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        write_private(tmp_path / "secret", "first")
        write_private(tmp_path / "secret", "second")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert (tmp_path / "secret").read_text() == "second"
    assert list(tmp_path.iterdir()) == [tmp_path / "secret"]


def test_the_ledger_finds_a_process_again_that_was_noted_the_moment_it_started(
    tmp_path: Path, start_stranger: StartStranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = start_stranger(None)
    with monkeypatch.context() as moment:
        # Linux shows no command at all until the new program is in place, a little after Popen returns.
        moment.setattr(psutil.Process, "cmdline", lambda _: [])
        Ledger(tmp_path / "children.json").note("worker", stranger.pid, STRANGER)
    found = Ledger(tmp_path / "children.json").leftovers()
    assert [process.pid for process in found] == [stranger.pid]


@pytest.mark.parametrize("change", [{"created": 1.0}, {"arguments": ["601"]}, {"pid": 1}])
def test_the_ledger_does_not_take_another_process_for_a_child(
    change: dict[str, object], tmp_path: Path, start_stranger: StartStranger
) -> None:
    identity = Identity.of(start_stranger(None).pid, STRANGER)
    assert identity is not None
    (tmp_path / "children.json").write_text(json.dumps({"worker": vars(identity) | change}))
    assert Ledger(tmp_path / "children.json").leftovers() == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"worker": 3}', '{"worker": {"pid": 4}}'])
def test_a_ledger_that_makes_no_sense_is_an_empty_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "children.json").write_text(text)
    assert Ledger(tmp_path / "children.json").leftovers() == []
