"""The folder that `up` keeps everything in: whose turn it is, the secret key, the sign-in of the demo."""

import fcntl
import os
import secrets
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from notify_project.local.exceptions import StartError
from notify_project.local.folders import write_private


class DataFolder:
    """`var/` in the project's folder, unless `--data-dir` names another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.demo = path / "demo.env"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder ours alone; raises StartError when it cannot be written or is another `up`'s.

        The lock goes with this process however it ends, and no child inherits it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StartError(f"cannot write to the data folder {self.path}: {error.strerror}") from None
        with os.fdopen(descriptor, "r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StartError(f"already running on {self.path} (process {file.read().strip()})") from None
            file.truncate()
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def secret_key(self) -> str:
        """The key that sessions and tokens are signed with; made once."""
        path = self.path / "secret_key"
        with suppress(OSError):
            if kept := path.read_text(encoding="utf-8").strip():
                return kept
        key = secrets.token_urlsafe(48)
        write_private(path, f"{key}\n")
        return key

    def metrics(self) -> str:
        """The folder in which the processes keep what they count; what those of an earlier run counted is gone."""
        path = self.path / "metrics"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700, exist_ok=True)
        return str(path)

    def recall(self) -> dict[str, str]:
        """What `remember` wrote last; empty when there is nothing, or nothing readable."""
        try:
            words = shlex.split(self.demo.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return dict(word.split("=", 1) for word in words if "=" in word)

    def remember(self, values: Mapping[str, str]) -> None:
        """Write shell assignments into demo.env, for scripts and for the next start."""
        lines = (f"{name}={shlex.quote(value)}\n" for name, value in values.items())
        write_private(self.demo, "".join(lines))
