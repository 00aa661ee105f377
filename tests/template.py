"""A folder that is costly to fill: filled once a run, copied after that."""

import subprocess
import tempfile
from pathlib import Path

COPY_SECONDS = 60


class Template:
    """The first who needs the folder fills one and keeps it here; each of the others begins with a copy."""

    def __init__(self) -> None:
        # Removed with the process that it belongs to.
        self._room = tempfile.TemporaryDirectory(prefix="notify-template-")
        self._kept = Path(self._room.name) / "kept"

    def copy_to(self, folder: Path) -> bool:
        """Make `folder`, which is not there yet, a copy; False, and nothing made, before the first `keep`."""
        if self._kept.exists():
            _copy(self._kept, folder)
        return self._kept.exists()

    def keep(self, folder: Path) -> None:
        """Keep a copy of `folder`, which nobody writes to just now."""
        _copy(folder, self._kept)


def _copy(source: Path, target: Path) -> None:
    # Not shutil, which gives every file a new owner: as root, PostgreSQL's belong to its stand-in.
    command = ["cp", "-Rp", str(source), str(target)]
    subprocess.run(command, check=True, timeout=COPY_SECONDS)
