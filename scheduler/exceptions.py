"""What keeps a schedule from being changed. An exception's docstring is its message to a developer."""

from notifications.exceptions import NotifyError, Refused


class Unknown(NotifyError):
    """There is no schedule of this id."""


class Conflict(NotifyError):
    """The schedule is not in a state in which this can be done to it; the message says why."""


class TooLate(Conflict):
    """The schedule fired, or was cancelled, before this reached it."""

    def __init__(self, status: str) -> None:
        super().__init__(f"It is too late: this schedule is {status}.")


class Changed(Conflict):
    """The schedule is not the one that the caller looked at: it was changed meanwhile."""

    def __init__(self) -> None:
        super().__init__("The schedule was changed since you looked: look again before you change it.")


class Unreadable(Conflict):
    """The schedule was made by a newer release, and this one cannot read it."""

    def __init__(self) -> None:
        super().__init__("This schedule was made by a newer release, which can read it.")


class Restoring(Refused):
    """PostgreSQL knows a schedule that Redis lost, and a scheduler has not put it back yet."""

    def __init__(self) -> None:
        super().__init__("The schedule is being restored.", retry_after=2)
