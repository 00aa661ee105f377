"""One table becomes many, by the time in the id (see notifications/partitions.py).

What is there becomes the first of them as it is, without a copy. That it holds nothing of the day after tomorrow or
later is proven while others write to it; nobody waits for longer than a moment.
"""

import time
from datetime import timedelta

from django.db import OperationalError, connection, migrations, transaction
from django.utils import timezone

from notifications import partitions

TRIES = 60

IS_DIVIDED = "SELECT relkind = 'p' FROM pg_class WHERE oid = 'notifications_notification'::regclass"

# What a drop asks for (partitions.MAKE). One of an attempt that broke off may be of no use.
INDEX = [
    "DROP INDEX CONCURRENTLY IF EXISTS notifications_notification_before_stored",
    """
    CREATE INDEX CONCURRENTLY notifications_notification_before_stored ON notifications_notification
        USING brin (stored_at) WITH (autosummarize = on)
    """,
]

FORGET = "ALTER TABLE notifications_notification DROP CONSTRAINT IF EXISTS notification_before"
ANY_BEYOND = "SELECT EXISTS (SELECT FROM notifications_notification WHERE id >= '{bound}')"
PROVE = [
    "ALTER TABLE notifications_notification ADD CONSTRAINT notification_before CHECK (id < '{bound}') NOT VALID",
    "ALTER TABLE notifications_notification VALIDATE CONSTRAINT notification_before",
]

LOCK = "LOCK TABLE notifications_notification IN ACCESS EXCLUSIVE MODE"
RENAME = """
    ALTER TABLE notifications_notification RENAME TO notifications_notification_before;
    ALTER TABLE notifications_notification_before
        RENAME CONSTRAINT notifications_notification_pkey TO notifications_notification_before_pkey;
    ALTER TABLE notifications_notification_before
        RENAME CONSTRAINT notification_inbox_order TO notifications_notification_before_inbox_order;
    CREATE TABLE notifications_notification
        (LIKE notifications_notification_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)
        PARTITION BY RANGE (id);
    ALTER TABLE notifications_notification DROP CONSTRAINT IF EXISTS notification_before, ADD PRIMARY KEY (id);
"""
ANY = "SELECT EXISTS (SELECT FROM notifications_notification_before)"
KEEP = """
    WITH strange AS (DELETE FROM notifications_notification_before WHERE id >= '{bound}' RETURNING *)
        INSERT INTO notifications_notification_default SELECT * FROM strange;
    ALTER TABLE notifications_notification
        ATTACH PARTITION notifications_notification_before FOR VALUES FROM (MINVALUE) TO ('{bound}');
    ALTER TABLE notifications_notification_before DROP CONSTRAINT IF EXISTS notification_before;
"""
LEAVE = "DROP TABLE notifications_notification_before"

# All rows are copied, and nobody reads or writes meanwhile: an older release works without that, too.
UNDO = """
    LOCK TABLE notifications_notification IN ACCESS EXCLUSIVE MODE;
    CREATE TABLE notification_whole
        (LIKE notifications_notification INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)
        WITH (fillfactor = 90);
    INSERT INTO notification_whole SELECT * FROM notifications_notification;
    DROP TABLE notifications_notification;
    ALTER TABLE notification_whole RENAME TO notifications_notification;
    ALTER TABLE notifications_notification
        ADD CONSTRAINT notifications_notification_pkey PRIMARY KEY (id),
        ADD CONSTRAINT notification_inbox_order UNIQUE (recipient, seq);
"""


def divide(apps, schema_editor):
    """Safe to repeat where it broke off: what counts is one transaction."""
    if not ask(IS_DIVIDED):
        midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
        bound = partitions.id_at(midnight + timedelta(days=2))
        for statement in INDEX:
            patiently(run, statement)
        patiently(run_briefly, FORGET)
        # Ids of no time, or of a clock that is wrong: with them, the table is looked through under the lock.
        if not ask(ANY_BEYOND.format(bound=bound)):
            for statement in PROVE:
                patiently(run_briefly, statement.format(bound=bound))
        patiently(switch, bound)
    patiently(partitions.make_ahead, timezone.now())


def undo(apps, schema_editor):
    """One table again."""
    with transaction.atomic():
        run(UNDO)


def switch(bound):
    with transaction.atomic():
        run_briefly(LOCK)
        run(RENAME)
        partitions.make_default()
        run(KEEP.format(bound=bound) if ask(ANY) else LEAVE)


def patiently(do, *arguments):
    """Whoever holds a lock for long, a backup for one, is waited for in between, not in everybody's way."""
    for _ in range(TRIES - 1):
        try:
            return do(*arguments)
        except (OperationalError, partitions.NotNow):
            time.sleep(1)
    return do(*arguments)


def run_briefly(statement):
    with transaction.atomic():
        run("SET LOCAL lock_timeout = '1s'")
        run(statement)


def run(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)


def ask(question):
    with connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('notifications', '0006_erased_index'),
    ]

    operations = [
        migrations.RunPython(divide, undo),
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.RemoveConstraint('notification', 'notification_inbox_order')],
        ),
    ]
