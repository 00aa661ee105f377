"""Why a start ends before it began."""


class StartError(Exception):
    """Notify cannot start here; the message is one line for the person who asked it to."""


class StopRequested(Exception):
    """SIGINT, SIGTERM or SIGHUP came while something was being waited for."""
