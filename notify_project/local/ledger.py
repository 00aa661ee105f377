"""The children that a supervisor has, written down, so that the next one can end those that outlived it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import structlog

from notify_project.local.folders import write_private
from notify_project.local.processes import Identity

log = structlog.get_logger("notify.up")


class Ledger:
    """A small file, rewritten whenever a child starts: name → identity."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, Identity] = {}

    def note(self, name: str, pid: int, command: Sequence[str]) -> None:
        """Write a child down, in the place of an earlier one with the same name."""
        identity = Identity.of(pid, command)
        if identity is None:
            return  # it ended already
        self._entries[name] = identity
        try:
            write_private(self._path, json.dumps({name: vars(each) for name, each in self._entries.items()}))
        except OSError as error:
            # A full disk; the child matters more than the net under it.
            log.warning("ledger.not_written", error=str(error))

    def leftovers(self) -> list[psutil.Process]:
        """The processes of an earlier supervisor that still run, each proved to be the one that was noted."""
        processes = (identity.find() for identity in self._read())
        return [process for process in processes if process is not None]

    def clear(self) -> None:
        """Forget everything: nothing runs any more."""
        self._entries.clear()
        self._path.unlink(missing_ok=True)

    def _read(self) -> list[Identity]:
        try:
            written: dict[str, dict[str, Any]] = json.loads(self._path.read_text())
            return [Identity(**entry) for entry in written.values()]
        except (OSError, ValueError, TypeError, AttributeError):
            return []  # never written, or not by us: then there is nothing that could be proved
