"""Bulk jobs: one notification to many, its list of recipients, and how far it got."""

from django.db import connection, models


class BulkJob(models.Model):
    """One row a job.

    What is ordered (`status`, `rate_limit`) is decided here, under the row's lock, and carried out in Redis, where the
    fan-out goes on; `revision` says which order is the newer, and `applied` which one Redis was told.
    """

    class Status(models.IntegerChoices):
        """What a job is at. `receiving`: its list is not all here; nobody is shown such a job."""

        RECEIVING = 0, "receiving"
        QUEUED = 1, "queued"
        RUNNING = 2, "running"
        PAUSED = 3, "paused"
        CANCELLED = 4, "cancelled"
        DONE = 5, "done"

    # A UUIDv7: its time, and a hash of job and recipient, make each recipient's notification id.
    id = models.UUIDField(primary_key=True, editable=False)
    status = models.PositiveSmallIntegerField(choices=Status, default=Status.RECEIVING)
    revision = models.BigIntegerField(default=1)
    applied = models.BigIntegerField(default=0)
    type = models.CharField(max_length=100)
    title = models.CharField(max_length=200)
    # The event's JSON, with the job's id for its own and nobody for a recipient (events.copies makes the rest of it).
    payload = models.BinaryField()
    # Events a second, minute or hour (`500/s`); empty: as fast as they go.
    rate_limit = models.CharField(max_length=20, blank=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    # When the last part of its list came in, while it is receiving.
    received_at = models.DateTimeField()
    start_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    # Nothing of it is under way any more: all is a row or a dead letter, or it was cancelled and the rest never went.
    finished_at = models.DateTimeField(null=True, blank=True)

    # Recipients, each counted once; how many the list named again; how many of its lines are no recipient.
    total = models.BigIntegerField(default=0)
    duplicates = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    # By shard: how many recipients, and how many of them were last known to be fanned out.
    shares = models.JSONField(default=list)
    positions = models.JSONField(default=list)
    # Rows, without those that are only in the tallies yet (notifications.models.Tally); dead letters.
    stored = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    # Events a second over the last seconds, as of `counted_at`.
    per_second = models.FloatField(default=0)
    counted_at = models.DateTimeField(null=True)

    # Of a request with an Idempotency-Key: whose key it is and its digest, what was asked with it, and the answer.
    once = models.CharField(max_length=200, null=True, unique=True, editable=False)
    fingerprint = models.CharField(max_length=32, blank=True, editable=False)
    answer = models.BinaryField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            # What bulk workers look for, again and again.
            models.Index(fields=["start_at", "id"], name="bulk_under_way", condition=models.Q(finished_at=None)),
            models.Index(fields=["status", "-id"], name="bulk_status"),
            models.Index(fields=["finished_at"], name="bulk_finished"),
        ]

    def __str__(self) -> str:
        return f"{self.title} → {self.total} recipients"

    @staticmethod
    def is_any_unfinished() -> bool:
        """Whether there is a job to look at. Bulk workers ask all the time, and a QuerySet takes ten times as long."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM bulk_bulkjob WHERE finished_at IS NULL)")
            return bool(cursor.fetchone()[0])


class Received(models.Model):
    """A piece of a list as it came in, of one shard: recipients, a line each, some perhaps twice."""

    job = models.ForeignKey(BulkJob, on_delete=models.CASCADE, related_name="+")
    shard = models.PositiveSmallIntegerField()
    recipients = models.TextField()

    def __str__(self) -> str:
        return f"a piece of {self.job_id}"


class Part(models.Model):
    """A piece of a list as it is fanned out: PART_SIZE recipients of one shard (the last: fewer), a line each.

    Parts are numbered from 0 in each shard; together they hold every recipient once, in order. They go when the job is
    over.
    """

    job = models.ForeignKey(BulkJob, on_delete=models.CASCADE, related_name="parts")
    shard = models.PositiveSmallIntegerField()
    number = models.PositiveIntegerField()
    recipients = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "shard", "number"], name="bulk_part_order")]

    def __str__(self) -> str:
        return f"part {self.number} of {self.job_id}"


# Large enough that a part is read seldom, small enough to hold a few at once.
PART_SIZE = 5000


def visible() -> models.QuerySet[BulkJob]:
    """Every job whose list is all here; nobody is shown another."""
    return BulkJob.objects.exclude(status=BulkJob.Status.RECEIVING)
