"""Backup and restore as docs/backup.md has them, of a stack's two servers."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

from notify_project.local.postgresql import DATABASE, installation
from tests.stack import Stack, wait_until

COMMAND_SECONDS = 60
AOF = "appendonlydir"


def copy_redis(stack: Stack, to: Path) -> None:
    """Copy the append-only files of a server at work: none of them may be replaced meanwhile."""
    client: Any = stack.redis()
    percentage = client.config_get("auto-aof-rewrite-percentage")["auto-aof-rewrite-percentage"]
    client.config_set("auto-aof-rewrite-percentage", 0)
    try:
        wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], message="the rewrite never ended")
        shutil.copytree(stack.folder / "valkey" / AOF, to / AOF)
    finally:
        client.config_set("auto-aof-rewrite-percentage", percentage)


def restore_redis(stack: Stack, copy: Path) -> None:
    """Start the stack's Valkey on a copy; it was removed."""
    shutil.copytree(copy / AOF, stack.folder / "valkey" / AOF)
    stack.valkey.start()


def dump_postgresql(stack: Stack, to: Path) -> None:
    """One consistent state of the database, while others write."""
    _run(stack, "pg_dump", "--format=custom", f"--file={to / 'notify.dump'}", stack.postgresql.url)


def restore_postgresql(stack: Stack, copy: Path) -> None:
    """Fill the stack's PostgreSQL, which was removed and is made anew, from a dump."""
    stack.postgresql.start()
    options = ("--exit-on-error", "--no-owner", "--single-transaction")
    _run(stack, "pg_restore", *options, f"--dbname={stack.postgresql.url}", str(copy / "notify.dump"))


def destroy(stack: Stack) -> None:
    """Both servers and all that they had, at once."""
    for server in (stack.postgresql, stack.valkey):
        server.kill()
        server.remove()


def _run(stack: Stack, program: str, *arguments: str) -> None:
    command = [str(installation() / "bin" / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    assert done.returncode == 0, f"{program} for {DATABASE} in {stack.folder}: {done.stderr}"
