"""What an operator does to letters, and the sentence that says what came of it.

A page shows letters as they died; what died again since is another death, and nothing is done to it unseen.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest

from dlq import replay
from dlq.admin import words
from dlq.exceptions import DiedAgain, NotDead, Unreadable
from dlq.models import DeadLetter, Replay
from dlq.replay import Criteria

MESSAGE_LEVELS: Final = {True: messages.SUCCESS, False: messages.WARNING}

DIED_AGAIN: Final = "died again since you looked"
UNREADABLE: Final = "cannot be read: correct it with “edit and replay”"

Status = DeadLetter.Status


def replay_one(request: HttpRequest, letter_id: UUID, life: int) -> None:
    """Replay a letter that died of this life, and say so; or say why not."""
    try:
        order = replay.order_one(letter_id, name_of(request), life=life)
    except NotDead:
        say(request, f"{words.counted(0)} replayed", f"1 was no longer dead{_by_whom([letter_id])}", good=False)
    except DiedAgain:
        say(request, f"{words.counted(0)} replayed", f"1 {DIED_AGAIN}", good=False)
    except Unreadable:
        say(request, f"{words.counted(0)} replayed", f"1 {UNREADABLE}", good=False)
    else:
        say(request, begin(order))


def replay_chosen(request: HttpRequest, ids: Sequence[UUID], until: datetime) -> None:
    """Replay these letters, whichever are still dead and died by then, and say how many were."""
    order = replay.order(Criteria(ids=list(ids), until=until), by=name_of(request))
    # Before they set out: those that die at once are not among what was left out.
    left_out = what_of_the_others(ids, until, order.letters, order)
    say(request, begin(order), left_out, good=order.letters > 0)


def discard_chosen(request: HttpRequest, ids: Sequence[UUID], until: datetime) -> None:
    """Discard these letters, whichever are still dead and died by then, and say how many were."""
    done = replay.discard(Criteria(ids=list(ids), until=until), by=name_of(request))
    say(request, f"{words.counted(done)} discarded", what_of_the_others(ids, until, done), good=done > 0)


def begin(order: Replay, how: str = "") -> str:
    """Carry out what can be carried out at once. “3 letters replayed”, or how far it is and what comes of the rest."""
    replay.begin(order)
    letters = words.counted(order.letters)
    waiting = order.taken.filter(status=Status.REPLAYING).count()
    if not waiting:
        return f"{letters} replayed{how}"
    if waiting < order.letters:
        done = words.with_verb(order.letters - waiting, "is", "are")
        return f"{letters} ordered{how}: {done} replayed, the DLQ worker does the rest"
    they_are, them = ("it is", "it") if order.letters == 1 else ("they are", "them")
    return f"{letters} ordered{how}: {they_are} replayed as soon as Redis takes {them}"


def say(request: HttpRequest, sentence: str, left_out: str = "", *, good: bool = True) -> None:
    """“3 letters replayed, 2 were no longer dead.”"""
    joint = "; " if ":" in sentence else ", "
    messages.add_message(request, MESSAGE_LEVELS[good], joint.join(filter(None, (sentence, left_out))) + ".")


def what_of_the_others(ids: Sequence[UUID], until: datetime, done: int, order: Replay | None = None) -> str:
    """Why nothing was done to so many of these letters; empty where all were dealt with, `order` having taken them."""
    dead = DeadLetter.objects.filter(pk__in=ids, status=Status.DEAD)
    if order:
        dead = dead.exclude(replay=order)
    died_again = dead.filter(last_failed_at__gt=until).count()
    unreadable = dead.filter(last_failed_at__lte=until, readable=False).count() if order else 0
    gone = len(ids) - done - died_again - unreadable
    parts = (
        (gone, f"{words.with_verb(gone, 'was', 'were')} no longer dead{_by_whom(ids)}"),
        (died_again, f"{died_again:,} {DIED_AGAIN}"),
        (unreadable, f"{unreadable:,} {UNREADABLE}"),
    )
    return ", ".join(said for count, said in parts if count > 0)


def who_was_first(letter: DeadLetter) -> str:
    """Why nothing can be done to a letter that is no longer dead."""
    if letter.status == Status.DISCARDED:
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


def _by_whom(ids: Sequence[UUID]) -> str:
    """For a single letter, which is what a double click meets: who was first."""
    letters = DeadLetter.objects.select_related("replay").filter(pk__in=ids)[:1]
    return "".join(f" ({who_was_first(letter)})" for letter in letters) if len(ids) == 1 else ""
