"""What others ask about bulk jobs: which of them are not over."""

from datetime import datetime
from uuid import UUID

from bulk.models import BulkJob


def under_way() -> dict[UUID, datetime]:
    """The jobs that are not over, each with the time when it was made: what they sent may be sent again."""
    return dict(BulkJob.objects.filter(finished_at=None).values_list("pk", "created_at"))
