"""The Lua scripts, by name. Each file opens with its KEYS, its ARGV and what it returns.

What several of them need is in `lua/parts`; a line `-- needs: rates.lua` puts that part in front of a script. Bells are
rung only where somebody listens to them: in a cluster.
"""

import re
from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any

import redis
from redis.client import Pipeline
from redis.exceptions import NoScriptError

from notifications.stream.cluster import AWAY, Cluster, is_gone

FOLDER = Path(__file__).parent / "lua"
NEEDS = re.compile(r"^-- needs: (\S+)$", re.MULTILINE)

Call = tuple[Sequence[str | bytes], Sequence[str | bytes | int]]


def run(client: redis.Redis, name: str, keys: Sequence[str | bytes], arguments: Sequence[str | bytes | int]) -> Any:  # noqa: ANN401 - what a script returns is its own business; callers say what they expect
    """Run `lua/<name>.lua`, by its digest where the server knows it."""
    source, digest = of(client, name)
    try:
        return client.evalsha(digest, len(keys), *keys, *arguments)
    except NoScriptError:
        return client.eval(source, len(keys), *keys, *arguments)


def run_each(client: redis.Redis, name: str, calls: Sequence[Call]) -> list[Any]:
    """Run one script over many shards in one round trip: `calls` are keys and arguments of each; their answers.

    Raises the first error.
    """
    answers = _run_each(client, name, calls)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def run_where_possible(client: redis.Redis, name: str, calls: Sequence[Call]) -> list[Any]:
    """The same of the shards whose server answers; None in place of the others' answers.

    Raises the error where no server answers, and any other error.
    """
    answers = _run_each(client, name, calls)
    for answer in answers:
        if isinstance(answer, Exception) and (not isinstance(answer, AWAY) or is_gone(client)):
            raise answer
    return [None if isinstance(answer, AWAY) else answer for answer in answers]


def of(client: redis.Redis, name: str) -> tuple[str, str]:
    """The source and the digest of a script as this Redis is to run it."""
    return _load(name, rings=isinstance(client, Cluster))


def stage(
    pipe: Pipeline,
    script: tuple[str, str],
    keys: Sequence[str | bytes],
    arguments: Sequence[str | bytes | int],
    *,
    by_digest: bool = True,
) -> None:
    """Add a script to what a pipeline asks."""
    source, digest = script
    if by_digest:
        pipe.evalsha(digest, len(keys), *keys, *arguments)
    else:
        pipe.eval(source, len(keys), *keys, *arguments)


def _run_each(client: redis.Redis, name: str, calls: Sequence[Call]) -> list[Any]:
    if len(calls) < 2:
        return [_answer(client, name, call) for call in calls]
    script = of(client, name)
    pipe = client.pipeline(transaction=False)
    for keys, arguments in calls:
        stage(pipe, script, keys, arguments)
    answers = pipe.execute(raise_on_error=False)
    for number, answer in enumerate(answers):
        if isinstance(answer, NoScriptError):
            answers[number] = _answer(client, name, calls[number])
    return answers


def _answer(client: redis.Redis, name: str, call: Call) -> Any:  # noqa: ANN401 - as `run`; or that its server is away
    try:
        return run(client, name, *call)
    except AWAY as error:
        return error


@cache
def _load(name: str, *, rings: bool = False) -> tuple[str, str]:
    script = (FOLDER / f"{name}.lua").read_text()
    parts = [part if rings or part != "bell.lua" else "silence.lua" for part in NEEDS.findall(script)]
    source = "".join((FOLDER / "parts" / part).read_text() for part in parts) + script
    # Redis names a script by this digest; nothing is protected by it.
    return source, sha1(source.encode(), usedforsecurity=False).hexdigest()
