"""What can go wrong with an order to a bulk job."""

from notifications.exceptions import NotifyError


class Unknown(NotifyError):
    """There is no such job."""


class Impossible(NotifyError):
    """This cannot be done to a job as it is now; the message is for whoever asked."""
