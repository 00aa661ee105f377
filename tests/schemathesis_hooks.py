"""What schemathesis is told in the run of test_schemathesis.py, which names this module to it."""

import itertools
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import schemathesis
from schemathesis.generation.meta import TestPhase

# The variable that names a file: ids of what is there, by a path's parameter.
THERE: Final = "NOTIFY_THERE"


@cache
def _there() -> dict[str, Iterator[str]]:
    """The same ids over and over again."""
    known = json.loads(Path(os.environ[THERE]).read_text())
    return {name: itertools.cycle(ids) for name, ids in known.items()}


@schemathesis.serializer("application/x-ndjson")
def as_lines(_context: Any, value: Any) -> bytes:
    """A body of lines; of what is no text, whatever it is."""
    return str(value).encode(errors="replace")


@schemathesis.hook
def before_call(context: Any, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Ask for what is there: an id that somebody made up leads to a 404, and nowhere else."""
    # There it goes by the ids that answers gave it.
    if case.meta is None or case.meta.phase.name is TestPhase.STATEFUL:
        return
    for name in case.path_parameters.keys() & _there().keys():
        if _is_id(case.path_parameters[name]):
            case.path_parameters[name] = next(_there()[name])


def _is_id(value: object) -> bool:
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True
