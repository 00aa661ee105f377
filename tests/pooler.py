"""PgBouncer between a stack's processes and its PostgreSQL, as strict as it can be.

A few sessions, each transaction in another one than the last, and nothing ignored that a client sends as it connects.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

from notify_project.local.folders import claim
from notify_project.local.postgresql import DATABASE, PORT, SUPERUSER, PostgreSQL
from tests.stack import Process, Stack, wait_until

SESSIONS: Final = 3
LISTEN_PORT: Final = 6432
ADVICE: Final = "these tests need PgBouncer: apt-get install pgbouncer"
SETTINGS: Final = """
[databases]
{database} = host={socket} port={port} user={user}
[pgbouncer]
pool_mode = transaction
default_pool_size = {sessions}
server_round_robin = 1
max_client_conn = 500
listen_addr =
listen_port = {listen_port}
unix_socket_dir = {folder}
auth_type = any
"""


def path() -> str | None:
    """Where PgBouncer is; None when there is none."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


@contextmanager
def pooler(stack: Stack, folder: Path) -> Iterator[str]:
    """One that runs; its address, for `DATABASE_URL`. `folder` is made, and has to have a short name."""
    command = path()
    assert command, ADVICE
    server = PostgreSQL(stack.folder / "postgresql")
    account = stack.postgresql.account
    claim(folder, account)
    settings = SETTINGS.format(
        database=DATABASE,
        socket=server.socket.parent,
        port=PORT,
        user=SUPERUSER,
        sessions=SESSIONS,
        listen_port=LISTEN_PORT,
        folder=folder,
    )
    (folder / "pgbouncer.ini").write_text(settings)
    running = Process((command, "pgbouncer.ini"), {"PATH": os.defpath}, stack.folder / "pooler.log", folder, account)
    url = f"postgresql://{SUPERUSER}@{str(folder).replace('/', '%2F')}:{LISTEN_PORT}/{DATABASE}"
    try:
        wait_until(lambda: running.returncode is not None or _answers(url), message="the pooler never answered")
        assert running.returncode is None, running.tail()
        yield url
    finally:
        running.kill()
        shutil.rmtree(folder)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True
