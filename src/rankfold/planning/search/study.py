"""A file that several processes, here or on other machines, search in together: optuna's journal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from rankfold.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    import optuna

T = TypeVar("T")


def check_optuna() -> None:
    """Refuse a search without the package.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("a search needs optuna, which is not installed; pip install 'rankfold[search]'") from error


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna says only what is wrong inside, and what the user wants to hear outside."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def open_study(path: Path | None, name: str, directions: Sequence[Literal["maximize", "minimize"]]) -> optuna.Study:
    """The study `name`: a new one, or that in `path` with all that has been found there.

    Every line of the file is one small step, appended under a lock that holds on NFS too. Nothing is unpickled.

    Args:
        path: the file; None: the study is only in memory.
        name: tells this search from others, which the file must not hold.
        directions: `maximize` or `minimize`, for each objective.

    Raises:
        InputError: the file holds something else, or cannot be written.
    """
    import optuna

    if path is None:
        return optuna.create_study(study_name=name, directions=directions)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file for the study")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        storage = readable(path, lambda: _journal(path))
        names = readable(path, lambda: optuna.get_all_study_names(storage))
        if any(other != name for other in names):
            raise InputError(f"{path} holds another search, with other layers, data or settings; give another file")
        if names:
            return optuna.load_study(study_name=name, storage=storage)
        return optuna.create_study(storage=storage, study_name=name, load_if_exists=True, directions=directions)


@contextmanager
def writing(path: Path | None) -> Iterator[None]:
    """Inside, what the system has against the file becomes one sentence.

    Raises:
        InputError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; free some space or choose another file") from error


def _journal(path: Path) -> optuna.storages.JournalStorage:
    from optuna.storages import JournalStorage, journal

    # Absolute, as the lock is a symbolic link beside the file that points to it; a lock that a killed process left behind is
    # known by a file that has not changed for half a minute.
    place = str(path.absolute())
    lock = journal.JournalFileOpenLock(place) if os.name == "nt" else journal.JournalFileSymlinkLock(place)
    if path.exists() and not _complete(path):
        _mend(path, lock)
    return JournalStorage(journal.JournalFileBackend(place, lock_obj=lock))


def _mend(path: Path, lock: Any) -> None:
    """Cut off half a line, which a full disk or a process that was killed may leave at the end."""
    lock.acquire()
    try:
        if not _complete(path):  # whoever was writing has not finished while we waited
            content = path.read_bytes()
            if not content.startswith(b"{"):
                raise ValueError("no journal")
            os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()


def _complete(path: Path) -> bool:
    with open(path, "rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def readable(path: Path | None, read: Callable[[], T]) -> T:
    """What `read` returns, or one sentence where the file is no journal: optuna then raises one of many errors.

    Raises:
        InputError: instead of these.
    """
    try:
        return read()
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise InputError(f"{path} is not a study, or it is damaged; give another file") from error
