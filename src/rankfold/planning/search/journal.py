"""A file that several processes, here or on other machines, search in together: optuna's journal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from rankfold.errors import InputError
from rankfold.planning.search.journal_check import check_study
from rankfold.planning.search.journal_lock import MendingLock

if TYPE_CHECKING:
    import optuna

T = TypeVar("T")


def open_study(
    path: Path | None, name: str, directions: Sequence[Literal["maximize", "minimize"]]
) -> optuna.Study:
    """The study `name`: a new one, or that in `path` with all that has been found there.

    Every line of the file is one small step, appended under a lock that holds on NFS too. Nothing is
    unpickled.

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
    check_study(path)
    # Only now is anything written.
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        storage = readable(path, lambda: _journal(path))
        names = readable(path, lambda: optuna.get_all_study_names(storage))
        if any(other != name for other in names):
            raise InputError(
                f"{path} holds another search, with other layers, data or settings; give another file"
            )
        # One file, one study.
        if names:
            return optuna.load_study(study_name=name, storage=storage)
        # Another process may have begun it meanwhile.
        return optuna.create_study(
            storage=storage, study_name=name, load_if_exists=True, directions=directions
        )


@contextmanager
def writing(path: Path | None) -> Iterator[None]:
    """Inside, what the system has against the file becomes one sentence.

    Raises:
        InputError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another file"
        ) from error


def readable(path: Path | None, read: Callable[[], T]) -> T:
    """What `read` returns; or one sentence where the file is no journal, for which optuna has many errors.

    Raises:
        InputError: instead of these.
    """
    try:
        return read()
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise InputError(f"{path} is not a study, or it is damaged; give another file") from error


def _journal(path: Path) -> optuna.storages.JournalStorage:
    from optuna.storages import JournalStorage, journal

    # The backend asks for no more than acquire and release.
    lock: Any = MendingLock(path)
    backend = journal.JournalFileBackend(os.path.realpath(path), lock_obj=lock)
    return JournalStorage(backend)
