"""`manage.py bulk`: one notification to everybody in a file, with a progress bar."""

import json
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import UUID

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError
from redis.exceptions import RedisError
from tqdm import tqdm

from bulk import counts, files, making, requests, upload
from bulk.files import FORMATS, Unusable
from bulk.models import BulkJob
from bulk.requests import Content
from notifications import wiring
from notifications.exceptions import Invalid, Refused

BY: Final = "manage.py bulk"
LOOK_SECONDS: Final = 0.3
# How long nothing may happen before that is worth a line.
PATIENCE_SECONDS: Final = 5.0
ERRORS_SHOWN: Final = 20


class Command(BaseCommand):
    """Goes through the same door as the API, with the same rules."""

    help = "Send one notification to every recipient in a file; follows the job until it is done."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """A file, what all get, how fast and when."""
        parser.add_argument("file", help="an id a line, CSV with a header, or NDJSON; - reads standard input")
        parser.add_argument("--title", required=True)
        parser.add_argument("--type", default="message", help="default: %(default)s")
        parser.add_argument("--body", default="")
        parser.add_argument("--data", default="{}", metavar="JSON", help="a JSON object")
        parser.add_argument("--format", choices=FORMATS, help="default: by the file's name (.csv, .ndjson, .jsonl)")
        parser.add_argument("--column", help="where the ids are in CSV or NDJSON; default: recipient, user_id or id")
        parser.add_argument("--rate", help="the most that go out: 500/s, 20/m; default: no limit")
        parser.add_argument("--delay", type=float, metavar="SECONDS", help="begin so many seconds from now")
        parser.add_argument("--at", metavar="TIME", help="begin then (RFC 3339): 2026-12-24T18:00:00Z")
        parser.add_argument("--strict", action="store_true", help="start nothing if any line is no id")
        parser.add_argument("--detach", action="store_true", help="do not wait until the job is done")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's signature
        """Read, start, follow; or one line that says what is wrong, and nothing is started."""
        settings.NOTIFY.require("database_url", "redis_url")
        wiring.require_shards()
        try:
            job_id = self._start(options)
            if not options["detach"]:
                self._follow(job_id)
        except (Invalid, Refused, Unusable) as error:
            raise CommandError(f"{error} Nothing was started.") from None
        except (DatabaseError, InterfaceError, RedisError) as error:
            raise CommandError(f"a server does not answer: {error}") from None
        except KeyboardInterrupt:
            # In that very moment it may have been made.
            raise CommandError("interrupted; a job that is in GET /api/bulk goes on", returncode=130) from None

    def _start(self, options: dict[str, Any]) -> UUID:
        content = _content(options)
        kind = options["format"] or files.format_of(options["file"])
        with _opened(options["file"]) as file, _bar(_size(file), "reading", unit="B", unit_scale=True) as bar:
            batches = files.read(file, kind, options["column"], bar.update)
            answer = making.make(content, batches, BY, strict=options["strict"])
        made: dict[str, Any] = msgspec.json.decode(answer.body)
        for error in made["errors"][:ERRORS_SHOWN]:
            self._say(f"line {error['line']}: {error['detail']}")
        self._say(
            f"{made['total']} recipients, {made['duplicates']} named again, {made['rejected']} left out; "
            f"begins {made['start_at']}"
        )
        self.stdout.write(made["id"])
        return UUID(made["id"])

    def _say(self, line: str) -> None:
        """A line beside the output, which is the job's id alone. No error, so in no error's colour."""
        self.stderr.write(line, str)

    def _follow(self, job_id: UUID) -> None:
        try:
            job = self._until_over(job_id)
        except KeyboardInterrupt:
            raise CommandError(f"the job goes on without you: {job_id}", returncode=130) from None
        self._say(f"{job.get_status_display()}: {job.stored} stored, {job.failed} failed")
        if job.failed:
            raise CommandError("what failed is among the dead letters")

    def _until_over(self, job_id: UUID) -> BulkJob:
        job = BulkJob.objects.get(pk=job_id)
        began = time.monotonic()
        with _bar(job.total, "sending", unit="") as bar:
            while job.finished_at is None:
                time.sleep(LOOK_SECONDS)
                job = BulkJob.objects.get(pk=job_id)
                now = counts.count(wiring.fanout(), [job])[job_id]
                bar.set_postfix_str(job.get_status_display(), refresh=False)
                bar.update(now.stored + now.failed - bar.n)
                if began and not job.started_at and time.monotonic() - began > PATIENCE_SECONDS:
                    bar.write("No bulk worker has begun it yet: manage.py bulk_worker.", file=sys.stderr)
                    began = 0
        return job


def _content(options: dict[str, Any]) -> Content:
    try:
        data = json.loads(options["data"])
    except ValueError as error:
        raise CommandError(f"--data must be a JSON object: {error}") from None
    document = {name: options[name] for name in ("type", "title", "body")} | {"data": data}
    document |= {name: options[name] for name in ("rate", "delay", "at") if options[name] is not None}
    return requests.parse(json.dumps(document).encode(), upload.now_ms())


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}") from None
    with file:
        yield file


def _size(file: BinaryIO) -> int | None:
    """How many bytes a file has; None where nobody knows, of a pipe for one."""
    return file.seek(0, 2) - file.seek(0) if file.seekable() else None


def _bar(total: int | None, what: str, **options: Any) -> "tqdm[Any]":  # noqa: ANN401 - tqdm's own
    """A progress bar on standard error; none where that is no terminal."""
    return tqdm(total=total, desc=what, file=sys.stderr, disable=None, **options)
