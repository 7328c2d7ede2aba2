"""Temporary files: how they are called, whose they still are, and how those of killed processes go."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rankfold.errors import InputError

# As `new_temporary` names them.
TEMPORARY = re.compile(r"\.(?P<target>.+)\.[a-z0-9_]{8}\.tmp", re.DOTALL)
FOLDER = "rankfold"  # stands for the target in the name of the temporary of a whole folder
CONTENT = ".files.tmp"  # ends the name of the folder beside that temporary
STRAY_AGE = 3600  # seconds after which a temporary is taken for left over, where the file system has no locks


def stray_files(folder: Path, target: str | None = None) -> list[Path]:
    """Temporary files in a folder, whether they are left over or being written.

    Args:
        folder: the folder.
        target: name of the file that they were to become; None: of any file.

    Raises:
        InputError: the folder cannot be read.
    """
    found = []
    for name in sorted(names_in(folder)):
        match = TEMPORARY.fullmatch(name)
        if match is not None and target in (None, match["target"]):
            found.append(folder / name)
    return found


def remove_strays(folder: Path, target: str | None = None) -> None:
    """Remove the temporary files of killed processes from a folder, and leave those that are being written.

    Args:
        folder: a folder that is there.
        target: name of the file that they were to become; None: of any file.

    Raises:
        InputError: the folder cannot be read.
    """
    for temporary in stray_files(folder, target):
        with abandoned(temporary) as is_left, suppress(OSError):  # what may not be removed stays
            if is_left:
                discard(temporary)


def names_in(folder: Path) -> set[str]:
    """The names of a folder's entries.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise InputError(f"cannot read folder {folder}: {error.strerror}") from error


# A temporary is locked by the process that writes it, for as long as that process lives: the system drops the
# lock of a killed process at once. So a temporary that can be locked is left over and may go, and one that
# cannot is being written. No process number and no clock has to be trusted: numbers are used again, and mean
# nothing in other containers and on other machines, which may all write into one folder. Linux passes such
# locks on over NFS as well. Only where a file system knows no locks, the age decides.


def new_temporary(folder: Path, target: str) -> tuple[Path, int | None]:
    """A new temporary file and the handle that keeps it locked; None where there are no locks."""
    while True:
        path = folder / f".{target}.{os.urandom(4).hex()}.tmp"
        try:
            # As readable as any file that the user creates: the system takes the umask off.
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        try:
            lock(handle, wait=True)
        except OSError:
            os.close(handle)
            return path, None
        if path.exists():
            return path, handle
        os.close(handle)  # it was taken for left over before it was locked


@contextmanager
def abandoned(temporary: Path) -> Iterator[bool]:
    """Whether the writer of a temporary file is gone; if so, it stays locked within."""
    handle = None
    if sys.platform != "win32":  # where a file that is open cannot be removed
        with suppress(OSError):  # it has gone, or is another user's
            handle = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW)
    try:
        yield _is_free(temporary, handle)
    finally:
        close_lock(handle)


def _is_free(temporary: Path, handle: int | None) -> bool:
    if handle is not None:
        try:
            lock(handle, wait=False)
            return True
        except BlockingIOError:
            return False
        except OSError:
            pass  # no locks on this file system
    try:
        return time.time() - temporary.stat().st_mtime > STRAY_AGE
    except OSError:
        return False


def lock(handle: int, wait: bool) -> None:
    """Lock an open file.

    Raises:
        BlockingIOError: another one has locked it, and `wait` is False.
        OSError: there are no locks.
    """
    if sys.platform == "win32":
        raise OSError("no locks")
    import fcntl

    how = fcntl.LOCK_EX
    if not wait:
        how |= fcntl.LOCK_NB
    fcntl.flock(handle, how)


def close_lock(handle: int | None) -> None:
    """Close a handle of `new_temporary`, which lets others take the file for left over."""
    if handle is not None:
        os.close(handle)


def content_of(temporary: Path) -> Path:
    """The folder of what `replacing_folder` writes, beside its temporary file."""
    return temporary.with_name(temporary.name.removesuffix(".tmp") + CONTENT)


def moved_by(temporary: Path) -> list[str]:
    """Entries that an unfinished `replacing_folder` has moved, or was about to move, out of its folder."""
    if not content_of(temporary).is_dir():
        return []
    try:
        names = json.loads(temporary.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []  # killed before the names were complete, and thus before anything was moved
    if not isinstance(names, list):
        return []
    return names


def discard(temporary: Path) -> None:
    """Remove a temporary file and, of a folder, all that was made for it."""
    # What tells of the rest goes last: killed in between, the next process knows of it.
    moved = moved_by(temporary)
    for name in names_in(temporary.parent) & set(moved):
        entry = temporary.parent / name
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    content = content_of(temporary)
    if content.is_dir():
        shutil.rmtree(content)
    temporary.unlink(missing_ok=True)
