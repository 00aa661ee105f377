"""Sessions of PostgreSQL whose process stands still (a stopped container, a lost host) in the middle of a statement.

Between two statements, the server ends such a session itself (`idle_in_transaction_session_timeout`, settings.py). But
one that waits for the rest of a statement, or for its answer to be taken, counts as active, and a back end that waits
for its client heeds no time-out: it keeps the locks of the inboxes it touched for as long as its process stands. So
whoever waits for a lock in vain, and each worker now and then, looks for such sessions and ends them.
"""

from typing import Final

import structlog
from django.db import DatabaseError, connection

log = structlog.get_logger("notify.standstill")

# As long as an idle transaction may last. A live process sends a statement, and takes its answer, in milliseconds.
STANDSTILL_SECONDS: Final = 5
LOCK_NOT_AVAILABLE: Final = "55P03"

# Hand-written: it asks the server about its sessions. Ours alone: the same role, database and application name.
END_SESSIONS: Final = """
    SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user
      AND application_name = current_setting('application_name')
      AND state = 'active' AND wait_event IN ('ClientRead', 'ClientWrite')
      AND query_start < clock_timestamp() - make_interval(secs => %s)
"""


def end_sessions() -> int:
    """End the sessions that have waited for their client in the middle of a statement for seconds. Returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(END_SESSIONS, [STANDSTILL_SECONDS])
        ended = [pid for pid, _ in cursor.fetchall()]
    if ended:
        log.warning("standstill.sessions_ended", backends=ended)
    return len(ended)


def waited_in_vain(error: BaseException) -> bool:
    """Whether an error says that a lock was not to be had in time."""
    return isinstance(error, DatabaseError) and getattr(error.__cause__, "sqlstate", None) == LOCK_NOT_AVAILABLE
