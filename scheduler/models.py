"""Schedules as PostgreSQL keeps them: what the lists show, and what Redis gets back when it lost them."""

from django.db import models


class Schedule(models.Model):
    """One row a schedule, as of its newest recorded change. `id` is the event's, where it fires once.

    `about` and `payload` are what Redis keeps (see schedule.py), as bytes, so that putting it back changes nothing.
    """

    class Status(models.IntegerChoices):
        """Whether it waits for a time, and if not, why."""

        SCHEDULED = 0, "scheduled"
        FIRED = 1, "fired"
        CANCELLED = 2, "cancelled"

    id = models.UUIDField(primary_key=True, editable=False)
    status = models.PositiveSmallIntegerField(choices=Status)
    # Rises with each change; of two states of a schedule, the one with the higher revision is the newer.
    revision = models.BigIntegerField()
    recurs = models.BooleanField()
    recipient = models.CharField(max_length=128, db_collation="C")
    type = models.CharField(max_length=100)
    title = models.CharField(max_length=200)
    next_run_at = models.DateTimeField(null=True, blank=True)
    last_run_at = models.DateTimeField(null=True, blank=True)
    runs = models.PositiveBigIntegerField()
    recorded_at = models.DateTimeField()
    about = models.BinaryField()
    payload = models.BinaryField()

    class Meta:
        ordering = ["-id"]
        indexes = [
            # What is put back comes in the order in which it is due.
            models.Index(fields=["next_run_at", "id"], name="schedule_waits", condition=models.Q(status=0)),
            # What is over is forgotten in the order in which that was recorded.
            models.Index(fields=["recorded_at", "id"], name="schedule_over", condition=~models.Q(status=0)),
            models.Index(fields=["recipient", "-id"], name="schedule_recipient"),
            models.Index(fields=["status", "-id"], name="schedule_status"),
        ]

    def __str__(self) -> str:
        return f"{self.title} → {self.recipient}"
