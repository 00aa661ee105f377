"""Dead letters: one row an event that was given up, whatever became of it since, and what was done to it."""

import uuid

from django.db import models


class Replay(models.Model):
    """One order to replay: who gave it, when, for which letters."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    ordered_by = models.CharField(max_length=200)
    ordered_at = models.DateTimeField()
    # The filter as it was asked for: {"reason": "invalid", "since": "…", "limit": 100}, or {"ids": […]}.
    criteria = models.JSONField()
    # How many letters it took; each of them is replayed by it and by nobody else. 0: somebody else was quicker.
    letters = models.PositiveIntegerField()
    # Of an order that came with an Idempotency-Key, while the key lives: whose key it is and its digest, what was asked
    # with it, and the answer, which is empty until it was given once.
    once = models.CharField(max_length=200, null=True, unique=True, editable=False)
    fingerprint = models.CharField(max_length=32, blank=True, editable=False)
    answer = models.BinaryField(null=True)

    class Meta:
        ordering = ["-ordered_at"]

    def __str__(self) -> str:
        return f"{self.letters} letters by {self.ordered_by}"


class DeadLetter(models.Model):
    """An event that was given up.

    `id` is the event's own, so an event is one letter however often it dies; `life` says how often it was replayed,
    and what an earlier life left (a redelivered stream entry) changes nothing. `payload` is kept as bytes: what
    killed an event may be what PostgreSQL's text and JSON do not take.
    """

    class Status(models.IntegerChoices):
        """What became of a letter. `replaying`: ordered, and on its way into the stream."""

        DEAD = 0, "dead"
        REPLAYING = 1, "replaying"
        REPLAYED = 2, "replayed"
        DISCARDED = 3, "discarded"

    id = models.UUIDField(primary_key=True, editable=False)
    status = models.PositiveSmallIntegerField(choices=Status, default=Status.DEAD)
    recipient = models.CharField(max_length=128, blank=True, db_collation="C")
    type = models.CharField(max_length=100, blank=True)
    # The bulk job or the schedule that the event came from.
    source_id = models.UUIDField(null=True, blank=True, editable=False)
    payload = models.BinaryField()
    # Whether the payload is an event that this release can read; one that is not has to be corrected to be replayed.
    readable = models.BooleanField(default=True)
    # The id of a corrected event, where it is not the letter's own: an id tells its recipient's shard, and what could
    # not be read had no recipient.
    replayed_as = models.UUIDField(null=True, unique=True, editable=False)
    reason = models.CharField(max_length=40)
    error = models.TextField()
    # Twelve hex digits, the same for errors that differ only in ids, numbers and quoted values.
    fingerprint = models.CharField(max_length=12)
    # Of its last life.
    attempts = models.PositiveIntegerField()
    life = models.PositiveIntegerField(default=0)
    first_failed_at = models.DateTimeField()
    last_failed_at = models.DateTimeField()
    replay = models.ForeignKey(Replay, null=True, blank=True, on_delete=models.PROTECT, related_name="taken")

    class Meta:
        ordering = ["-last_failed_at", "-id"]
        indexes = [
            models.Index(fields=["-last_failed_at", "-id"], name="dead_letter_newest"),
            models.Index(fields=["status", "reason", "fingerprint"], name="dead_letter_cause"),
            models.Index(fields=["recipient"], name="dead_letter_recipient"),
            models.Index(fields=["source_id"], name="dead_letter_source", condition=models.Q(source_id__isnull=False)),
            # What is still dead, newest first: few among the many that were replayed.
            models.Index(fields=["-last_failed_at", "-id"], name="dead_letter_open", condition=models.Q(status=0)),
            # The recorder's question every second: what is ordered and not yet on its way?
            models.Index(fields=["replay", "id"], name="dead_letter_ordered", condition=models.Q(status=1)),
        ]

    def __str__(self) -> str:
        return f"{self.type or 'unreadable'} → {self.recipient or 'nobody'} ({self.reason})"


class Passage(models.Model):
    """One line of a letter's history: it died, was edited, replayed or discarded, or what else became of it."""

    class Kind(models.IntegerChoices):
        """What happened. `put back`: ordered, and not replayed, as the payload cannot be read (any more).

        `stored after all`: the event became a row without a replay, by a worker that stood still with it in hand.
        """

        DIED = 0, "died"
        ORDERED = 1, "replay ordered"
        REPLAYED = 2, "replayed"
        EDITED = 3, "edited"
        DISCARDED = 4, "discarded"
        UNREADABLE = 5, "put back"
        STORED = 6, "stored after all"

    letter = models.ForeignKey(DeadLetter, on_delete=models.CASCADE, related_name="history")
    kind = models.PositiveSmallIntegerField(choices=Kind)
    at = models.DateTimeField()
    # Who did it; empty where the pipeline did.
    by = models.CharField(max_length=200, blank=True)
    # The order that it belongs to; of a death, the order that gave the life which ended so. Edits and discards have
    # none.
    replay = models.ForeignKey(
        Replay, null=True, blank=True, on_delete=models.PROTECT, related_name="passages", db_index=False
    )
    # Of a death: its life, reason, error and attempts.
    life = models.PositiveIntegerField()
    reason = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)
    attempts = models.PositiveIntegerField(default=0)
    # Of an edit: the payload as it was before.
    payload = models.BinaryField(null=True)

    class Meta:
        # In the order in which they were written: `at` is told by more than one clock.
        ordering = ["id"]
        indexes = [
            # What became of an order's letters: most deaths are of none.
            models.Index(fields=["replay", "kind"], name="passage_of_order", condition=models.Q(replay__isnull=False))
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} at {self.at:%Y-%m-%d %H:%M:%S}"
