"""The Lua scripts, by name. Each file opens with its KEYS, its ARGV and what it returns.

What several of them need is in `lua/parts`; a line `-- needs: rates.lua` puts that part in front of a script.
"""

import re
from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import NoScriptError

FOLDER = Path(__file__).parent / "lua"
NEEDS = re.compile(r"^-- needs: (\S+)$", re.MULTILINE)


def run(client: redis.Redis, name: str, keys: Sequence[str | bytes], arguments: Sequence[str | bytes | int]) -> Any:  # noqa: ANN401 - what a script returns is its own business; callers say what they expect
    """Run `lua/<name>.lua`, by its digest where the server knows it."""
    source, digest = _load(name)
    try:
        return client.evalsha(digest, len(keys), *keys, *arguments)
    except NoScriptError:
        return client.eval(source, len(keys), *keys, *arguments)


def run_each(
    client: redis.Redis, name: str, calls: Sequence[tuple[Sequence[str], Sequence[str | bytes | int]]]
) -> list[Any]:
    """Run one script over many shards in one round trip: `calls` are keys and arguments of each; their answers."""
    if len(calls) < 2:
        return [run(client, name, *call) for call in calls]
    _, digest = _load(name)
    pipe = client.pipeline(transaction=False)
    for keys, arguments in calls:
        pipe.evalsha(digest, len(keys), *keys, *arguments)
    answers = pipe.execute(raise_on_error=False)
    for number, answer in enumerate(answers):
        if isinstance(answer, NoScriptError):
            answers[number] = run(client, name, *calls[number])
        elif isinstance(answer, Exception):
            raise answer
    return answers


@cache
def _load(name: str) -> tuple[str, str]:
    script = (FOLDER / f"{name}.lua").read_text()
    source = "".join((FOLDER / "parts" / part).read_text() for part in NEEDS.findall(script)) + script
    # Redis names a script by this digest; nothing is protected by it.
    return source, sha1(source.encode(), usedforsecurity=False).hexdigest()
