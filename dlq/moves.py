"""Letters from one status to the next, any number of them in one statement, with a line in the history of each."""

from datetime import datetime
from typing import Any, Final

from django.core.exceptions import EmptyResultSet
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from dlq.models import DeadLetter, Passage, Replay

# Hand-written, as the ORM has no INSERT … SELECT, and 100 000 letters are not to pass through Python. `chosen` locks
# them in the order of their ids, as every writer does, so no two wait for each other in a circle; and once it has
# waited for another writer it looks at each letter's status anew, so no letter is taken twice.
MOVE: Final = """
    WITH chosen (id) AS MATERIALIZED ({chosen}),
    moved AS (
        UPDATE dlq_deadletter AS letter SET status = %s, replay_id = coalesce(%s::uuid, letter.replay_id)
        FROM chosen WHERE letter.id = chosen.id
        RETURNING letter.id, letter.life, letter.replay_id
    )
    INSERT INTO dlq_passage (letter_id, kind, at, "by", life, reason, error, attempts, replay_id)
    SELECT id, %s, %s, %s, life, '', '', 0, CASE WHEN %s THEN replay_id END FROM moved ORDER BY id
"""


def move(
    letters: QuerySet[DeadLetter],
    status: DeadLetter.Status,
    kind: Passage.Kind,
    *,
    by: str = "",
    at: datetime | None = None,
    replay: Replay | None = None,
    limit: int | None = None,
) -> int:
    """Give letters a status and their histories a line; returns how many. At most `limit`, the oldest ids first."""
    chosen = letters.order_by("pk").values("pk").select_for_update(of=("self",))[:limit]
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        try:
            select, values = chosen.query.sql_with_params()
        except EmptyResultSet:
            return 0
        replay_id = replay.pk if replay else None
        line: list[Any] = [kind.value, at or timezone.now(), by, kind != Passage.Kind.DISCARDED]
        cursor.execute(MOVE.format(chosen=select), [*values, status.value, replay_id, *line])
        moved: int = cursor.rowcount
        return moved
