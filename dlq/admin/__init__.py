"""Dead letters and their replays in Django's admin."""

from dlq.admin.letters import DeadLetterAdmin
from dlq.admin.orders import ReplayAdmin

__all__ = ["DeadLetterAdmin", "ReplayAdmin"]
