"""The inbox in PostgreSQL. The hot statements that fill it stand in store.py."""

from django.db import models

from notifications.access.models import ApiKey

__all__ = ["ApiKey", "Attempt", "Dropped", "Inbox", "Notification", "Tally"]


class Inbox(models.Model):
    """One row a recipient: the truth about the unread count, and the hand that gives out `seq`.

    `seq` counts the recipient's notifications and is given out under the row's lock, so it rises in commit order and
    without a gap. `version` rises with every change of the row and orders the mirrors in Redis.

    `erased_ms` (Unix ms) is there once the recipient was erased: no event that was made before it is stored any more
    (see erasures.py).
    """

    recipient = models.CharField(max_length=128, primary_key=True, db_collation="C")
    seq = models.BigIntegerField()
    unread = models.BigIntegerField()
    version = models.BigIntegerField()
    erased_ms = models.BigIntegerField(null=True, editable=False)

    class Meta:
        verbose_name_plural = "inboxes"
        indexes = [
            # Few among many: what is left of erased recipients, until it goes, too.
            models.Index(fields=["erased_ms"], name="inbox_erased", condition=models.Q(erased_ms__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.recipient}: {self.unread} unread of {self.seq}"


class Notification(models.Model):
    """What a recipient reads. Accepted when its id was made (UUIDv7); `read_at` is null while it is unread.

    The table is partitioned by id (see partitions.py). Each partition has a unique index on (recipient, seq), which
    lists and resumes an inbox, in either direction.
    """

    class Source(models.IntegerChoices):
        """Which door the event came in by."""

        API = 0, "api"
        SCHEDULE = 1, "schedule"
        BULK = 2, "bulk"

    id = models.UUIDField(primary_key=True)
    recipient = models.CharField(max_length=128, db_collation="C")
    seq = models.BigIntegerField()
    type = models.CharField(max_length=100)
    title = models.CharField(max_length=200)
    body = models.TextField()
    data = models.JSONField()
    stored_at = models.DateTimeField()
    read_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField()
    source = models.PositiveSmallIntegerField(choices=Source)
    source_id = models.UUIDField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.title} → {self.recipient}"


class Attempt(models.Model):
    """One attempt that failed before a notification was stored; written with its row, so that most have none.

    No foreign key: what removes a notification removes these with it, and a check of each row would buy nothing.
    """

    notification_id = models.UUIDField(db_index=True)
    # Which attempt, in which life: each replay of a dead letter begins a new one.
    life = models.PositiveIntegerField()
    number = models.PositiveIntegerField()
    at = models.DateTimeField()
    error = models.TextField()
    # How long the next attempt was to wait; null where none followed in that life.
    delay_ms = models.PositiveBigIntegerField(null=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.notification_id}"


class Tally(models.Model):
    """How many rows a transaction added for one source, a bulk job: written with them, so that the sum is exact.

    Whoever counts a source takes its tallies away as it adds them up.
    """

    source_id = models.UUIDField(db_index=True)
    stored = models.IntegerField()

    class Meta:
        verbose_name_plural = "tallies"

    def __str__(self) -> str:
        return f"{self.stored} of {self.source_id}"


class Dropped(models.Model):
    """The id of an event of an erased recipient that was dealt with by dropping it, so that none is counted twice."""

    id = models.UUIDField(primary_key=True, editable=False)
    at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "dropped"

    def __str__(self) -> str:
        return f"{self.pk}"
