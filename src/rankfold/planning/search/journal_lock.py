"""The lock under which processes append to a study's file, and mend what a killed one left there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rankfold.errors import InputError

NEWLINE = b"\n"


def lock_of(path: Path) -> Any:
    """Optuna's lock under which processes append to the study in `path`, with `acquire` and `release`."""
    from optuna.storages import journal

    # The real path: the lock is a symbolic link beside the file that points to it, and one file has one
    # lock, by whatever name it is given. A lock that a killed process left behind is known by a file that
    # has not changed for half a minute.
    place = os.path.realpath(path)
    if os.name == "nt":
        return journal.JournalFileOpenLock(place)
    return journal.JournalFileSymlinkLock(place)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Inside, nobody else appends to the study in `path`."""
    lock = lock_of(path)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def check_lock(path: Path) -> None:
    """Refuse a study whose lock would have the name of another file: optuna removes old locks.

    Raises:
        InputError: it is refused.
    """
    lock = f"{os.path.realpath(path)}.lock"
    try:
        status = os.lstat(lock)  # of the link, not of what it points to
    except (FileNotFoundError, NotADirectoryError):
        return
    # What optuna makes: an empty file on Windows, a symbolic link elsewhere.
    if os.name == "nt":
        ours = stat.S_ISREG(status.st_mode) and status.st_size == 0
    else:
        ours = stat.S_ISLNK(status.st_mode)
    if not ours:
        raise InputError(
            f"{lock} is no lock of a search, which needs this name; give another file than {path}"
        )


class MendingLock:
    """The lock under which lines are appended; who takes it finds only complete lines before its own.

    Half a line is what a full disk or a killed process leaves at the end: a line after it would be lost
    with it.

    Args:
        path: the study's file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = lock_of(path)

    def acquire(self) -> bool:
        """Wait for the lock, and mend the file."""
        self._lock.acquire()
        try:
            _mend(self._path)
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        """Let others append."""
        self._lock.release()


def no_first_line(path: Path) -> InputError:
    """The complaint about a file that was begun and no more."""
    return InputError(
        f"{path} is not a study: it holds only a part of the first line, which a process that was killed "
        "leaves; delete the file, and the same command begins anew"
    )


def _mend(path: Path) -> None:
    """Cut off half a line after complete ones; called under the lock.

    Raises:
        InputError: there is no complete line before it.
    """
    if _is_complete(path):
        return
    # The last line that is whole ends there.
    content = path.read_bytes()
    end = content.rfind(NEWLINE) + 1
    if end == 0:
        raise no_first_line(path)
    os.truncate(path, end)


def _is_complete(path: Path) -> bool:
    """Whether the file ends with its last line, or is empty; only its last byte is read."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)  # journals grow to megabytes
        if size == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == NEWLINE
