"""What keeps a letter from being replayed or discarded. An exception's docstring is its message to a developer."""

from notifications.exceptions import NotifyError


class Conflict(NotifyError):
    """The letter is not in a state in which this can be done to it; the message says why."""


class NotDead(Conflict):
    """The letter was replayed or discarded already, by somebody else or by an earlier click."""

    def __init__(self, status: str) -> None:
        super().__init__(f"This letter is not dead any more: it is {status}.")


class Unreadable(Conflict):
    """The payload is no event that this release can read, so there is nothing to replay until it is corrected."""

    def __init__(self) -> None:
        super().__init__("The payload is no event that can be read: replay it with a corrected one.")


class DiedAgain(Conflict):
    """The letter is dead, and not of the death that was looked at: it was replayed meanwhile, and died another."""

    def __init__(self) -> None:
        super().__init__("It died again since you looked: look again before you replay it.")
