"""Logs: one line an event, with a stable action first and the ids as fields.

Notify's own lines and those of the libraries go through the same formatter, to standard error, and whoever runs the
process decides where they go. `NOTIFY_LOG_FORMAT` chooses lines for people or JSON for machines; as JSON, everything
that a process writes is a line of JSON, a warning and the traceback of a crash too.
"""

import logging
import re
import sys
import threading
from functools import partial
from types import TracebackType
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

log = structlog.get_logger("notify.process")

# What PostgreSQL adds to an error's first line: rows and JSON as they were sent, which are payloads. It ends where the
# error does: at the end, or in a traceback before the next one's. Where an error is represented, \n is two characters.
DETAILS: Final = re.compile(
    r"(\n|\\n)(DETAIL|CONTEXT|QUERY|LINE \d+):.*?(?=\n\nThe above exception was|\n\nDuring handling of|\Z)", re.DOTALL
)
HOLD_ERRORS: Final = ("error", "exception", "event")


def without_details(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Leave out of errors what they tell of the rows they are about."""
    for name in HOLD_ERRORS:
        if isinstance(text := event.get(name), str):
            event[name] = DETAILS.sub("", text)
    return event


SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    # Those of libraries, too: without it they would be a line's field in Python's own notation.
    structlog.processors.format_exc_info,
    without_details,
]


class OncePerOutage(logging.Filter):
    """Lets a library's repeated traceback through once a minute, as one line.

    channels_redis logs a whole traceback every second while Redis is away, psycopg's pool a line for every try while
    PostgreSQL is. Our own lines say when an outage begins and when it is over.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: float = -60

    def filter(self, record: logging.LogRecord) -> bool:
        elapsed = record.created - self._last
        if elapsed < 60:
            return False
        self._last = record.created
        record.exc_info = None
        return True


class Handler(logging.StreamHandler):  # type: ignore[type-arg]  # it is generic to type checkers alone
    """To standard error. A line that cannot be made of what was logged is a line that says so."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say whose it is; what is in it may be a payload."""
        if not isinstance(sys.exc_info()[1], OSError):
            log.error("log.failed", of=record.name, error=repr(sys.exc_info()[1]))


def configure(level: str, log_format: str) -> dict[str, Any]:
    """Set structlog up, and return Django's LOGGING that goes with it."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    if log_format == "json":
        _catch_the_rest()
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            pad_event_to=28,
            # Not the pretty one: it shows local variables, and with them payloads and keys.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": SHARED,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            },
        },
        "filters": {"once_per_outage": {"()": OncePerOutage}},
        "handlers": {"console": {"()": Handler, "formatter": "line"}},
        "root": {"handlers": ["console"], "level": "WARNING"},
        "loggers": {
            "notify": {"level": level},
            "channels_redis.pubsub": {"filters": ["once_per_outage"]},
            "psycopg.pool": {"filters": ["once_per_outage"]},
            # Each 4xx is the caller's business and is told to the caller; 5xx are logged by our own handler.
            "django.request": {"level": "CRITICAL"},
            # It tells of each try to send spans; ours tell when that begins to fail, and when it is over.
            "opentelemetry": {"level": "CRITICAL"},
        },
    }


def _catch_the_rest() -> None:
    """Make lines of what Python itself would write: warnings, and what nobody caught."""
    logging.captureWarnings(True)
    sys.excepthook = partial(_tell, "process.crashed")
    threading.excepthook = sys.unraisablehook = _uncaught


def _uncaught(caught: Any) -> None:  # noqa: ANN401 - of a thread, or of an object that goes; both have the same
    _tell("process.uncaught", caught.exc_type, caught.exc_value, caught.exc_traceback)


def _tell(action: str, kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    # Ctrl-C is no crash, and a thread that is asked to exit is none, either.
    if not issubclass(kind, KeyboardInterrupt | SystemExit):
        log.critical(action, exc_info=(kind, error, traceback))
