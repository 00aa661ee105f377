"""Logs: one line an event, with a stable action first and the ids as fields.

Notify's own lines and those of the libraries go through the same formatter, to standard error, and whoever runs the
process decides where they go. `NOTIFY_LOG_FORMAT` chooses lines for people or JSON for machines.
"""

import logging
import sys
from typing import Any

import structlog
from structlog.typing import Processor

SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
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


def configure(level: str, log_format: str) -> dict[str, Any]:
    """Set structlog up, and return Django's LOGGING that goes with it."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
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
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["console"], "level": "WARNING"},
        "loggers": {
            "notify": {"level": level},
            "channels_redis.pubsub": {"filters": ["once_per_outage"]},
            "psycopg.pool": {"filters": ["once_per_outage"]},
            # Each 4xx is the caller's business and is told to the caller; 5xx are logged by our own handler.
            "django.request": {"level": "CRITICAL"},
        },
    }
