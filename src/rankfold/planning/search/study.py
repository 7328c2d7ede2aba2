"""A file that several processes, here or on other machines, search in together: optuna's journal."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from rankfold.errors import InputError, MissingDependencyError
from rankfold.files import check_target

if TYPE_CHECKING:
    import optuna

T = TypeVar("T")

# What optuna's journal writes with each operation beside `op_code` and `worker_id`, by `op_code` (`JournalOperation`).
CREATE_STUDY = 0
FIELDS = (
    ("study_name", "directions"),
    ("study_id",),
    ("study_id", "user_attr"),
    ("study_id", "system_attr"),
    ("study_id", "datetime_start"),
    ("trial_id", "param_name", "param_value_internal", "distribution"),
    ("trial_id", "state", "values"),
    ("trial_id", "step", "intermediate_value"),
    ("trial_id", "user_attr"),
    ("trial_id", "system_attr"),
    (),
)
BEGINNING = b'{"op_code":0,"worker_id":"'  # of the first line that optuna writes


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
    check_study(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        storage = readable(path, lambda: _journal(path))
        names = readable(path, lambda: optuna.get_all_study_names(storage))
        if any(other != name for other in names):
            raise InputError(f"{path} holds another search, with other layers, data or settings; give another file")
        if names:
            return optuna.load_study(study_name=name, storage=storage)
        return optuna.create_study(storage=storage, study_name=name, load_if_exists=True, directions=directions)


def check_study(path: Path) -> None:
    """Refuse a file that a search must not write to, before anything is touched.

    A study is a missing or an empty file, or optuna's journal: complete lines, each one operation, the first of
    which creates a study. After them half a line may stand, which another process is writing or a killed one left.

    Raises:
        InputError: the path is something else, or cannot be read, or what the lock would be called is taken.
    """
    try:
        check_target(path)
        if path.is_dir():
            raise InputError(f"{path} is a folder; give a file for the study")
        _check_lock(path)
        if not path.exists():
            return
        only_begun = _only_begun(path)
        if only_begun:
            # Another process may be writing the very first line at this moment.
            with _locked(lock_of(path)):
                only_begun = _only_begun(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; give another file for the study") from error
    if only_begun:
        raise _no_first_line(path)


def _no_first_line(path: Path) -> InputError:
    return InputError(
        f"{path} is not a study: it holds only a part of the first line, which a process that was killed leaves; "
        "delete the file, and the same command begins anew"
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
        raise InputError(f"cannot write {path}: {error.strerror or error}; free some space or choose another file") from error


def _journal(path: Path) -> optuna.storages.JournalStorage:
    from optuna.storages import JournalStorage, journal

    lock: Any = _MendingLock(path)
    return JournalStorage(journal.JournalFileBackend(os.path.realpath(path), lock_obj=lock))


def _check_lock(path: Path) -> None:
    """Refuse a study whose lock would have the name of another file: optuna would remove that after half a minute.

    Raises:
        InputError: it is refused.
    """
    lock = f"{os.path.realpath(path)}.lock"
    try:
        found = os.lstat(lock)
    except (FileNotFoundError, NotADirectoryError):
        return
    if os.name == "nt":
        ours = stat.S_ISREG(found.st_mode) and found.st_size == 0
    else:
        ours = stat.S_ISLNK(found.st_mode)
    if not ours:
        raise InputError(f"{lock} is no lock of a search, which needs this name; give another file than {path}")


def lock_of(path: Path) -> Any:
    """The lock under which processes append to the study in `path`; optuna's, with `acquire` and `release`."""
    from optuna.storages import journal

    # The real path: the lock is a symbolic link beside the file that points to it, and one file has one lock, by
    # whatever name it is given. A lock that a killed process left behind is known by a file that has not changed
    # for half a minute.
    place = os.path.realpath(path)
    if os.name == "nt":
        return journal.JournalFileOpenLock(place)
    return journal.JournalFileSymlinkLock(place)


@contextmanager
def _locked(lock: Any) -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


class _MendingLock:
    """The lock under which lines are appended; who takes it finds only complete lines before its own.

    Half a line is what a full disk or a killed process leaves at the end: a line after it would be lost with it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = lock_of(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        try:
            _mend(self._path)
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        self._lock.release()


def _mend(path: Path) -> None:
    """Cut off half a line after complete ones; called under the lock.

    Raises:
        InputError: there is no complete line before it.
    """
    if _complete(path):
        return
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end == 0:
        raise _no_first_line(path)
    os.truncate(path, end)


def _complete(path: Path) -> bool:
    with open(path, "rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _only_begun(path: Path) -> bool:
    """Whether the file holds a part of the first line of a study, and nothing else.

    Half a line that follows complete ones is left to whoever appends.

    Raises:
        InputError: a complete line is no operation of a journal, or the part of a line is none of a study's first.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file):
            complete = line.endswith(b"\n")
            if not complete and number > 0:
                return False
            if not complete and BEGINNING.startswith(line[: len(BEGINNING)]):
                return True
            if not complete or not _is_operation(line, number == 0):
                raise InputError(f"{path} is not a study, or it is damaged; give another file")
    return False


def _is_operation(line: bytes, first: bool) -> bool:
    """Whether a line is an operation of optuna's journal; the first must create a study."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(content, dict) or not isinstance(content.get("worker_id"), str):
        return False
    code = content.get("op_code")
    if type(code) is not int or not 0 <= code < len(FIELDS):
        return False
    if first and code != CREATE_STUDY:
        return False
    return all(name in content for name in FIELDS[code])


def readable(path: Path | None, read: Callable[[], T]) -> T:
    """What `read` returns, or one sentence where the file is no journal: optuna then raises one of many errors.

    Raises:
        InputError: instead of these.
    """
    try:
        return read()
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise InputError(f"{path} is not a study, or it is damaged; give another file") from error
