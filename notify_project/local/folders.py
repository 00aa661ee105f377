"""Files and folders that nobody else should read, and the way to them for a server under another user."""

import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path

from notify_project.local.exceptions import StartError
from notify_project.local.processes import Account

# A socket's address holds 108 bytes on Linux and 104 on macOS, the closing zero included.
LONGEST_SOCKET_PATH = 103
# libpq reads a comma as a list of hosts, and URLs and configuration files have quotes of their own: a folder
# with such a character in its name keeps its data, while the socket goes to a plain place.
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")
ANYONE_PASSES = stat.S_IXOTH
ANYONE_READS = stat.S_IROTH


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 600 in one step: at no moment can others read it or find half of it."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes mode 600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def socket_folder(data: Path, socket_name: str) -> Path:
    """Where a server's socket can stand: beside its data, or in a short folder named after it."""
    if _fits(data / socket_name):
        return data
    name = "notify-" + hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    temporary = Path(tempfile.gettempdir()) / name
    return temporary if _fits(temporary / socket_name) else Path("/tmp") / name  # noqa: S108 - claim() checks it


def _fits(path: Path) -> bool:
    return PLAIN_PATH.fullmatch(str(path)) is not None and len(os.fsencode(path)) <= LONGEST_SOCKET_PATH


def claim(folder: Path, account: Account | None = None) -> None:
    """Make `folder` a private one (mode 700), ours or the account's; raises StartError for a stranger's."""
    owner = account or Account(os.geteuid(), os.getegid())
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), owner.uid}:
        raise StartError(f"{folder} belongs to another user; be that user, or choose another --data-dir")
    if found.st_uid != owner.uid:
        os.chown(folder, owner.uid, owner.gid)
    folder.chmod(0o700)


def let_pass(path: Path) -> None:
    """Let every user pass (not list) the folders that lead to `path`, as a server that is not root must."""
    for folder in path.resolve().parents:
        _allow(folder, ANYONE_PASSES)


def let_use(tree: Path) -> None:
    """Let every user read and run what `tree` holds, whatever umask it was installed under."""
    for path in (tree, *tree.rglob("*")):
        mode = path.stat().st_mode
        runs = stat.S_ISDIR(mode) or mode & stat.S_IXUSR
        _allow(path, ANYONE_READS | ANYONE_PASSES if runs else ANYONE_READS)


def _allow(path: Path, wanted: int) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & wanted != wanted:
        path.chmod(mode | wanted)
