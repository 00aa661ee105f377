"""`manage.py up` as its users meet it: real processes, killed, stopped and started again."""

import json
import os
import pwd
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import check_password

from notify_project.local import supervisor
from notify_project.local.children import PROJECT, BackOff, Child, Stage, kinds, manage
from notify_project.local.processes import Account, spawn
from notify_project.local.signals import StopSignals
from notify_project.local.supervisor import Supervisor
from notify_project.management.commands.provision import ensure_administrator
from tests.stack import HOST, Process, clean_environment, free_port, wait_until

pytestmark = pytest.mark.one_shard_is_enough

READY = "Notify is running."
START_SECONDS = 60
STOP_SECONDS = 10
MARKS = {
    "web": "notify_project.gateway",
    "worker": "worker",
    "scheduler": "scheduler",
    "dlq_worker": "dlq_worker",
    "PostgreSQL": "postgres",
    "Valkey": "valkey-server",
}
# As on macOS, where the kernel does not tell a child that its parent is gone.
UNTOLD = f"""
import sys
sys.path.insert(0, {str(PROJECT)!r})
from notify_project.local import processes
processes.LIBC = None
import manage
manage.main()
"""


class Up:
    """One run of `manage.py up` with a data folder and a port of its own."""

    def __init__(
        self,
        data: Path,
        *arguments: str,
        log: Path,
        folder: Path = Path("/"),
        environment: Mapping[str, str] | None = None,
        account: Account | None = None,
        told_of_deaths: bool = True,
    ) -> None:
        self.data = data
        self.port = free_port()
        options = ("--port", str(self.port), "--data-dir", os.path.relpath(data, folder), *arguments)
        given = clean_environment() if environment is None else environment
        command = manage("up", *options) if told_of_deaths else (sys.executable, "-c", UNTOLD, "up", *options)
        self.process = Process(command, given, log, folder, account)

    def wait_until_ready(self) -> None:
        """Return when it says that everything answers."""
        wait_until(lambda: READY in self.process.log() or self.process.returncode is not None, START_SECONDS)
        assert self.process.returncode is None, self.process.tail()

    @property
    def demo(self) -> dict[str, str]:
        """What demo.env says."""
        words = shlex.split((self.data / "demo.env").read_text())
        return dict(word.split("=", 1) for word in words)

    def pid_of(self, name: str) -> int | None:
        """The pid of one child right now."""
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):
                if any(MARKS[name] in Path(word).name for word in child.cmdline()[:3]):
                    return child.pid
        return None

    def serves(self) -> bool:
        """Whether a notification is taken right now."""
        try:
            return self.send() == 202
        except OSError:
            return False

    def send(self, recipient: str = "alice") -> int:
        """Send a notification with the first key; the status of the answer."""
        request = urllib.request.Request(
            f"{self.demo['NOTIFY_URL']}/api/notify",
            data=json.dumps({"recipient": recipient, "type": "greeting", "title": "Hello"}).encode(),
            headers={
                "Authorization": f"Bearer {self.demo['NOTIFY_API_KEY']}",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=5) as response:
            status: int = response.status
            return status

    def arrived(self, recipient: str) -> bool:
        """Whether the recipient's inbox holds something."""
        with suppress(psycopg.OperationalError), psycopg.connect(self.demo["DATABASE_URL"]) as connection:
            query = "SELECT 1 FROM notifications_notification WHERE recipient = %s"
            return connection.execute(query, [recipient]).fetchone() is not None
        return False

    def wait_until_nothing_runs(self) -> None:
        """Return when none of its processes is left; fails with their command lines."""
        with suppress(AssertionError):
            wait_until(lambda: self.left_running() == [], timeout=STOP_SECONDS)
        assert self.left_running() == [], self.process.tail()

    def left_running(self) -> list[str]:
        """Every process that has to do with the data folder."""
        return [" ".join(command) for command in map(_command, psutil.process_iter()) if self._concerns(command)]

    def _concerns(self, command: list[str]) -> bool:
        return any(str(self.data) in word for word in command)


def _command(process: psutil.Process) -> list[str]:
    """Its command line and, as web and workers are told the folder that way, its servers' addresses."""
    with suppress(psutil.Error):
        environment = process.environ()
        return [*process.cmdline(), environment.get("REDIS_URL", "")]
    with suppress(psutil.Error):
        return process.cmdline()
    return []


@pytest.fixture(scope="module")
def notify(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running Notify, which recovers from what the tests do to it."""
    folder = tmp_path_factory.mktemp("notify")
    up = Up(folder / "var", log=folder / "up.log")
    up.wait_until_ready()
    yield up
    up.process.terminate()
    up.process.wait()
    shutil.rmtree(up.data)


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Starts further ones; what a test leaves running is killed, and its children go with it."""
    started: list[Up] = []

    def start(*arguments: str, data: Path = tmp_path / "var", **options: object) -> Up:
        log = tmp_path / f"up-{len(started)}.log"
        started.append(Up(data, *arguments, log=log, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for up in started:
        if up.process.returncode is None:
            up.process.terminate()
            up.process.wait()
        shutil.rmtree(up.data, ignore_errors=True)


def assert_refused(up: Up, *reasons: str) -> None:
    """It ended with exit code 1 and one line that gives the reasons."""
    assert up.process.wait() == 1
    lines = [line for line in up.process.log().splitlines() if line.startswith("notify: ")]
    assert len(lines) == 1, up.process.log()
    assert "Traceback" not in up.process.log()
    for reason in reasons:
        assert reason in lines[0]


def test_demo_env_holds_six_assignments_for_its_owner_alone(notify: Up) -> None:
    assert stat.S_IMODE((notify.data / "demo.env").stat().st_mode) == 0o600
    assert list(notify.demo) == [
        "NOTIFY_URL",
        "NOTIFY_API_KEY",
        "NOTIFY_ADMIN_USER",
        "NOTIFY_ADMIN_PASSWORD",
        "DATABASE_URL",
        "REDIS_URL",
    ]
    assert stat.S_IMODE((notify.data / "secret_key").stat().st_mode) == 0o600


def test_the_printed_key_sends(notify: Up) -> None:
    assert notify.demo["NOTIFY_API_KEY"] in notify.process.log()
    assert notify.send() == 202


def test_the_printed_password_signs_in(notify: Up) -> None:
    assert notify.demo["NOTIFY_ADMIN_PASSWORD"] in notify.process.log()
    with psycopg.connect(notify.demo["DATABASE_URL"]) as connection:
        rows = connection.execute("SELECT username, is_superuser, password FROM auth_user").fetchall()
    [(user, is_superuser, password)] = rows
    assert (user, is_superuser) == (notify.demo["NOTIFY_ADMIN_USER"], True)
    assert check_password(notify.demo["NOTIFY_ADMIN_PASSWORD"], password)


@pytest.mark.parametrize("name", ["web", "worker", "scheduler", "dlq_worker", "PostgreSQL", "Valkey"])
def test_a_killed_child_is_started_again_and_all_goes_on(notify: Up, name: str) -> None:
    victim, recipient = notify.pid_of(name), uuid.uuid4().hex
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: notify.pid_of(name) not in {None, victim}, message=f"{name} stays away")
    wait_until(notify.serves, message=f"no notification is taken after {name} was killed")
    notify.send(recipient)
    wait_until(lambda: notify.arrived(recipient), message=f"nothing arrives after {name} was killed")
    ended = [line for line in notify.process.log().splitlines() if "child.ended" in line]
    assert any(f"child={name}" in line and "SIGKILL" in line for line in ended)


def test_a_second_one_on_the_same_data_folder_is_refused(notify: Up, start_up: Callable[..., Up]) -> None:
    linked = notify.data.with_name("linked")
    linked.symlink_to(notify.data)
    assert_refused(start_up(data=linked), "already running", str(notify.process.pid))
    assert notify.serves()


def test_a_port_in_use_is_refused_before_anything_starts(start_up: Callable[..., Up]) -> None:
    with closing(socket.create_server((HOST, 0))) as taken:
        port = taken.getsockname()[1]
        up = start_up("--port", str(port))
        assert_refused(up, str(port), "Address already in use")
    assert not (up.data / "postgresql").exists()
    assert up.left_running() == []


@pytest.mark.parametrize(
    ("option", "value"), [("--port", "0"), ("--port", "70000"), ("--workers", "0"), ("--host", "192.0.2.1")]
)
def test_an_option_that_cannot_be_is_named(start_up: Callable[..., Up], option: str, value: str) -> None:
    assert_refused(start_up(option, value), option, value)


def test_a_data_folder_that_cannot_be_written_is_named(start_up: Callable[..., Up], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    up = start_up(data=tmp_path / "file" / "var")
    assert_refused(up, str(up.data), "Not a directory")


def test_a_server_that_does_not_start_names_its_log(start_up: Callable[..., Up], tmp_path: Path) -> None:
    (tmp_path / "var" / "postgresql").mkdir(parents=True)
    (tmp_path / "var" / "postgresql" / "PG_VERSION").write_text("9\n")
    up = start_up()
    assert_refused(up, "PostgreSQL", str(up.data / "postgresql.log"))
    assert up.left_running() == []


def test_a_web_that_keeps_dying_ends_the_start(start_up: Callable[..., Up], tmp_path: Path) -> None:
    (tmp_path / "daphne.py").write_text("raise SystemExit('no web today')\n")
    up = start_up(environment=clean_environment(PYTHONPATH=str(tmp_path)))
    assert_refused(up, "the web does not start", "exit code 1")
    assert "no web today" in up.process.log()
    assert up.left_running() == []


def test_a_given_server_that_does_not_answer_is_named(start_up: Callable[..., Up]) -> None:
    url = f"postgresql://notify@{HOST}:{free_port()}/notify"
    up = start_up(environment=clean_environment(DATABASE_URL=url))
    assert_refused(up, "DATABASE_URL", "refused")
    assert up.left_running() == []


def test_given_servers_are_used_and_none_is_started(start_up: Callable[..., Up]) -> None:
    given = {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL")}
    beside = {name: os.environ[name] for name in ("CHANNEL_REDIS_URL",) if name in os.environ}
    up = start_up(environment=clean_environment(**given, **beside))
    up.wait_until_ready()
    assert up.demo.items() >= given.items()
    assert up.pid_of("PostgreSQL") is None
    assert up.pid_of("Valkey") is None
    assert up.send() == 202


def test_after_a_kill_without_warning_the_next_start_finds_everything_in_place(
    start_up: Callable[..., Up],
) -> None:
    first = start_up(told_of_deaths=False)
    first.wait_until_ready()
    first.send("bob")
    wait_until(lambda: first.arrived("bob"))
    first.process.kill()
    assert len(first.left_running()) >= len(MARKS)

    # A shell that read demo.env gives our own servers' addresses: they are started all the same.
    second = start_up(environment=clean_environment(**first.demo))
    second.wait_until_ready()
    assert second.demo | {"NOTIFY_URL": ""} == first.demo | {"NOTIFY_URL": ""}
    assert second.send() == 202
    assert second.arrived("bob")
    assert "child=PostgreSQL" in second.process.log()

    second.process.kill()
    if sys.platform == "linux":
        second.wait_until_nothing_runs()


def test_sigterm_stops_everything_in_time_from_any_folder(start_up: Callable[..., Up], tmp_path: Path) -> None:
    up = start_up("--workers", "2", folder=tmp_path)
    up.wait_until_ready()
    up.process.terminate()
    assert up.process.wait(STOP_SECONDS) == 0
    assert up.left_running() == []
    assert "child.killed" not in up.process.log()
    assert "Traceback" not in up.process.log()


def test_a_second_ctrl_c_does_not_wait_for_a_child_that_hangs(start_up: Callable[..., Up]) -> None:
    up = start_up()
    up.wait_until_ready()
    worker = up.pid_of("worker")
    assert worker is not None
    os.kill(worker, signal.SIGSTOP)
    began = time.monotonic()

    def pressed_until_gone() -> bool:
        up.process.interrupt()
        return up.process.returncode is not None

    wait_until(pressed_until_gone, message="Ctrl-C, again and again, and it is still there")
    assert time.monotonic() - began < supervisor.STOP_DEADLINES[Stage.BACKGROUND]
    assert up.left_running() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
def test_an_ordinary_user_can_start_it(start_up: Callable[..., Up], tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    account = Account(nobody.pw_uid, nobody.pw_gid)
    with suppress(OSError):
        subprocess.run([sys.executable, "-c", ""], user=nobody.pw_uid, group=nobody.pw_gid, check=True)
        for folder in tmp_path.parents:
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
        os.chown(tmp_path, *(nobody.pw_uid, nobody.pw_gid))
        up = start_up(account=account)
        up.wait_until_ready()
        assert up.send() == 202
        assert up.data.stat().st_uid == nobody.pw_uid
        return
    pytest.skip("an ordinary user may not run this Python here")


def test_what_does_not_stop_in_time_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_DEADLINES", {Stage.FRONT: 0.5})
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    log = tmp_path / "deaf.log"

    def start() -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            return spawn([sys.executable, "-c", deaf], environment={}, folder=tmp_path, output=output)

    child, keeper = Child("deaf", start), Supervisor(StopSignals())
    keeper.add(Stage.FRONT, child)
    child.start()
    wait_until(lambda: log.stat().st_size > 0)
    keeper.stop()
    assert child.gone()


def test_waits_between_restarts_double_up_to_ten_seconds_and_start_again() -> None:
    back_off = BackOff()
    assert [back_off.next_wait(stood_seconds=1) for _ in range(6)] == [0.5, 1, 2, 4, 8, 10]
    assert back_off.next_wait(stood_seconds=30) == 0.5


def test_several_workers_have_names_of_their_own() -> None:
    names = [name for kind in kinds(host=HOST, port=8000, workers=2) for name in kind.names]
    assert len(names) == len(set(names))
    assert {"web", "worker 1", "worker 2"} <= set(names)


@pytest.mark.django_db
def test_provisioning_again_signs_nobody_out_and_a_new_password_counts() -> None:
    users = get_user_model().objects
    ensure_administrator("root", "first password")
    signed_in = users.get(username="root").get_session_auth_hash()
    ensure_administrator("root", "first password")
    assert users.get(username="root").get_session_auth_hash() == signed_in
    ensure_administrator("root", "second password")
    assert users.get(username="root").check_password("second password")
