"""What an operator does to letters, and the sentence that says what came of it."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest

from dlq import replay
from dlq.admin import words
from dlq.models import DeadLetter, Replay
from dlq.replay import Criteria

MESSAGE_LEVELS: Final = {True: messages.SUCCESS, False: messages.WARNING}


def replay_chosen(request: HttpRequest, ids: Sequence[UUID]) -> Replay:
    """Replay these letters, whichever are still dead, and say how many were."""
    order = replay.order(Criteria(ids=list(ids)), by=name_of(request))
    replay.begin(order)
    say(request, order.letters, "replayed", ids)
    return order


def discard_chosen(request: HttpRequest, ids: Sequence[UUID]) -> None:
    """Discard these letters, whichever are still dead, and say how many were."""
    done = replay.discard(Criteria(ids=list(ids)), by=name_of(request))
    say(request, done, "discarded", ids)


def say(request: HttpRequest, done: int, deed: str, ids: Sequence[UUID]) -> None:
    """“3 letters replayed, 2 were no longer dead.”"""
    sentence = f"{words.counted(done)} {deed}"
    if left := len(ids) - done:
        sentence += ", " + _left_out(ids, left)
    messages.add_message(request, MESSAGE_LEVELS[done > 0], f"{sentence}.")


def who_was_first(letter: DeadLetter) -> str:
    """Why nothing can be done to a letter that is no longer dead."""
    if letter.status == DeadLetter.Status.DISCARDED:
        last = letter.history.last()
        return f"discarded by {last.by} at {words.moment(last.at)}" if last else "discarded"
    if letter.replay:
        return f"replay ordered by {letter.replay.ordered_by} at {words.moment(letter.replay.ordered_at)}"
    return letter.get_status_display()


def name_of(request: HttpRequest) -> str:
    """Who is signed in, as the history of a letter names them."""
    user: Any = request.user
    name: str = user.get_username()
    return name


def _left_out(ids: Sequence[UUID], left: int) -> str:
    unreadable = DeadLetter.objects.filter(pk__in=ids, status=DeadLetter.Status.DEAD, readable=False).count()
    parts = []
    if gone := left - unreadable:
        parts.append(f"{gone:,} {'was' if gone == 1 else 'were'} no longer dead{_by_whom(ids)}")
    if unreadable:
        parts.append(f"{unreadable:,} cannot be read: correct it with “edit and replay”")
    return ", ".join(parts)


def _by_whom(ids: Sequence[UUID]) -> str:
    """For a single letter, which is what a double click meets: who was first."""
    letters = DeadLetter.objects.select_related("replay").filter(pk__in=ids)[:1]
    return "".join(f" ({who_was_first(letter)})" for letter in letters) if len(ids) == 1 else ""
