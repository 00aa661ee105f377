"""`manage.py dlq_replay`: dead letters into the stream again, from the command line."""

import getpass
import os
import re
from argparse import ArgumentParser
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.db.models import QuerySet
from django.utils import timezone
from redis.exceptions import RedisError

from dlq import replay
from dlq.api import rules
from dlq.models import DeadLetter, Replay
from dlq.replay import Criteria
from notifications import events, wiring
from notifications.events import EventType
from notifications.exceptions import Refused

UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
WHEN_RULE: Final = "must be a time with its zone (2026-01-31T08:15:00Z) or how long ago: 45s, 30m, 2h, 7d"
NOT_DEAD: Final = {
    DeadLetter.Status.REPLAYING: "it is being replayed already",
    DeadLetter.Status.REPLAYED: "it was replayed already",
    DeadLetter.Status.DISCARDED: "it was discarded",
}
NO_CRITERION: Final = "Say which: --all, or any of --id, --reason, --type and --since; not both."


class Command(BaseCommand):
    """Orders like the API and the admin, and carries out what it ordered."""

    help = "Replay dead letters; prints how many. Options combine: what fits all of them is replayed."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which letters."""
        parser.add_argument("--all", action="store_true", help="every dead letter")
        parser.add_argument("--id", nargs="+", action="extend", metavar="ID", help="these")
        parser.add_argument("--reason", help="invalid, retries_exhausted or crash")
        parser.add_argument("--type", help="the event's type")
        parser.add_argument(
            "--since", metavar="WHEN", help="failed last at or after: a time (RFC 3339), or 30m, 2h, 7d"
        )
        parser.add_argument("--dry-run", action="store_true", help="only say how many it would be")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's signature
        """Order, carry out, say how many; or one line that says what is wrong."""
        settings.NOTIFY.require("database_url", "redis_url")
        wiring.require_shards()
        criteria = _criteria(options)
        try:
            taken = self._would_replay(criteria) if options["dry_run"] else self._replay(criteria)
            self._explain(set(criteria.ids or ()) - taken)
        except DatabaseError as error:
            raise CommandError(f"PostgreSQL does not answer: {' '.join(str(error).split())}") from None
        if criteria.ids and not taken:
            raise CommandError("None of these letters can be replayed.")

    def _would_replay(self, criteria: Criteria) -> set[UUID]:
        letters = replay.replayable(criteria)
        self.stdout.write(f"{_letters(letters.count())} would be replayed.")
        return _named(criteria, letters)

    def _replay(self, criteria: Criteria) -> set[UUID]:
        order = replay.order(criteria, f"command line: {_user()}")
        taken = _named(criteria, order.taken.all())
        left = _carry_out(order)
        self.stdout.write(f"{_letters(order.letters - left)} replayed.")
        if left:
            self.stdout.write(f"{_letters(left)} ordered: the DLQ worker replays them when Redis takes them.")
        return taken

    def _explain(self, ids: Collection[UUID]) -> None:
        """A line for each letter that was named and not taken."""
        found = DeadLetter.objects.defer("payload").in_bulk(ids)
        for letter_id in sorted(ids):
            letter = found.get(letter_id)
            self.stdout.write(f"{letter_id}: {_why(letter) if letter else 'there is no such letter'}.")


def _carry_out(order: Replay) -> int:
    """Carry out an order to its end; returns how many letters are left to the DLQ worker."""
    try:
        while replay.carry_out(replay=order):
            pass
    except (RedisError, Refused):
        pass
    return order.taken.filter(status=DeadLetter.Status.REPLAYING).count()


def _named(criteria: Criteria, letters: QuerySet[DeadLetter]) -> set[UUID]:
    """Which of the letters that are named by id are among these; a filter names none, and may fit very many."""
    return set(letters.values_list("pk", flat=True)) if criteria.ids else set()


def _why(letter: DeadLetter) -> str:
    """Why a letter that was named was not replayed."""
    if letter.status != DeadLetter.Status.DEAD:
        return NOT_DEAD[DeadLetter.Status(letter.status)]
    if not letter.readable:
        return "its payload cannot be read, so it has to be corrected first (in the admin, or by the API)"
    return "the other options do not fit it"


def _criteria(options: dict[str, Any]) -> Criteria:
    given = {name: read(options[name]) for name, read in READERS.items() if options[name] is not None}
    if options["all"] is bool(given):
        raise CommandError(NO_CRITERION)
    ids = given.pop("id", None)
    return Criteria(ids=ids, **given)


def _ids(texts: list[str]) -> list[UUID]:
    try:
        return [UUID(text) for text in texts]
    except ValueError:
        raise CommandError("--id must be ids of dead letters.") from None


def _checked(option: str, kind: Any) -> Callable[[str], str]:  # noqa: ANN401 - an annotated type
    def read(text: str) -> str:
        if not events.fits(text, kind):
            raise CommandError(f"{option} {rules.rule(kind)}.")
        return text

    return read


def _when(text: str) -> datetime:
    """A moment, or so long ago."""
    try:
        if ago := re.fullmatch(r"(\d{1,6})([smhd])", text):
            return timezone.now() - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        return rules.since(text)
    except (msgspec.ValidationError, OverflowError):
        raise CommandError(f"--since {WHEN_RULE}.") from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container's account need not have a name.
        return str(os.getuid())


def _letters(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"


READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "id": _ids,
    "reason": _checked("--reason", rules.Reason),
    "type": _checked("--type", EventType),
    "since": _when,
}
