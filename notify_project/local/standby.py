"""A replica of a private PostgreSQL: read-only, and as far behind as its primary's log takes to come."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psycopg

from notify_project.local.postgresql import DATABASE, PORT, SUPERUSER, PostgreSQL, installation


class Standby(PostgreSQL):
    """The replica in the folder `data` of a primary that runs when it is started first."""

    label = "PostgreSQL's replica"

    def __init__(self, data: Path, primary: PostgreSQL) -> None:
        super().__init__(data)
        self._primary = primary

    def prepare(self) -> None:
        super().prepare()
        # The primary's socket stands in its data folder, and the copy has the lock of it.
        self.forget_leftovers()

    def making(self, draft: Path) -> Sequence[str]:
        """A copy of the primary, with a line that says whom to follow.

        No slot: the primary keeps nothing for it, and one that was away for too long is made anew.
        """
        return (
            str(installation() / "bin" / "pg_basebackup"),
            f"--pgdata={draft}",
            f"--dbname=host={self._primary.socket.parent} port={PORT} user={SUPERUSER}",
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
        )

    def answers(self) -> bool:
        """Whether a client may read."""
        with suppress(psycopg.OperationalError), self._connect(DATABASE) as connection:
            return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        return False
