"""File discipline shared by every step: write beside the target, then rename: no reader sees half a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rankfold.errors import InputError
from rankfold.run_files import MARKERS, NEEDED
from rankfold.temporaries import (
    FOLDER,
    abandoned,
    close_lock,
    content_of,
    discard,
    moved_by,
    names_in,
    new_temporary,
    remove_strays,
    stray_files,
)


def package_data(package: str) -> Path:
    """The folder of the files that a part of this package brings along, such as its schemas.

    `importlib.resources` does the same for packages that are no folders, and takes 20 ms to import.

    Args:
        package: by its whole name, such as `rankfold.plan`.
    """
    _, *parts = package.split(".")
    return Path(__file__).parent.joinpath(*parts)


def digest_of(content: bytes) -> str:
    """A hash of 64 bits: enough to tell contents apart that may have been exchanged, not against forgery."""
    import hashlib  # late: it loads OpenSSL, which a short command can do without

    return hashlib.sha256(content).hexdigest()[:16]


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; on success flush it to disk and rename it onto `path`.

    On any error the temporary file is removed and an existing `path` stays as it was.

    Raises:
        InputError: the folder cannot be written or the disk is full.
    """
    with _written(Path(path), os.replace) as temporary:
        yield temporary


@contextmanager
def creating(path: str | Path) -> Iterator[Path]:
    """As `replacing`, for a file that must be new: of several processes that make it, one succeeds.

    Raises:
        InputError: it is there, the folder cannot be written or the disk is full.
    """
    with _written(Path(path), _link) as temporary:
        yield temporary


@contextmanager
def _written(target: Path, finish: Callable[[Path, Path], None]) -> Iterator[Path]:
    """Yield a temporary sibling of `target`; `finish` then gives it its name."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(InputError):  # a folder may be open to writing alone
            remove_strays(target.parent, target.name)
        temporary, lock = new_temporary(target.parent, target.name)
    except OSError as error:
        raise _no_folder(target, target.parent, error) from error
    try:
        yield temporary
        _flush(temporary)
        finish(temporary, target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)
        close_lock(lock)


def _link(temporary: Path, target: Path) -> None:
    """Give a file that is written in full its name, unless another file has it."""
    # To open the target itself exclusively would leave half a file for ever where a process is killed. A
    # second name is all or nothing, and the system gives it to one process alone.
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise InputError(f"{target} was made by another process a moment ago; choose another place") from None
    except OSError:  # no second names on this file system: then the last process has the file
        os.replace(temporary, target)


@contextmanager
def replacing_folder(path: str | Path, last: str) -> Iterator[Path]:
    """Yield an empty folder; on success flush its files to disk and move them into the empty folder `path`.

    On any error nothing stays. A process that is killed at any point leaves a folder that is vacant
    (`is_vacant`) or complete.

    Args:
        path: the folder to fill, which need not be there.
        last: the entry that is moved last; where it is, all the others are.

    Raises:
        InputError: `path` is not an empty folder, it cannot be written, or the disk is full.
    """
    # The folder that is yielded lies within `path`, which may be a mount point or the working folder and
    # cannot be replaced itself. Its entries are moved out one by one. The temporary file beside it holds
    # their names: what a killed process moved already is known from it, and removed with the rest.
    target = Path(path)
    check_vacant(target)
    existed = target.exists()
    try:
        target.mkdir(parents=True, exist_ok=True)
        remove_strays(target)
        temporary, lock = new_temporary(target, FOLDER)
    except OSError as error:
        raise _no_folder(target, target, error) from error
    content = content_of(temporary)
    try:
        content.mkdir()
        yield content
        for file in content.rglob("*"):
            if file.is_file():
                _flush(file)
        check_vacant(target)  # another process may have filled it
        names = sorted(names_in(content))
        if last in names:
            names.remove(last)
            names.append(last)
        temporary.write_text(json.dumps(names), encoding="utf-8")
        _flush(temporary)
        for name in names:
            (content / name).rename(target / name)
        content.rmdir()  # from here on the folder is complete
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        discard(temporary)
        close_lock(lock)
        if not existed:
            with suppress(OSError):  # it is not empty, as it should be
                target.rmdir()


def is_vacant(folder: Path, besides: Collection[str] = ()) -> bool:
    """Whether there is no folder, or an empty one; what a killed process left half-made does not count.

    Args:
        folder: the folder.
        besides: names of entries that do not count either.

    Raises:
        InputError: the folder cannot be read.
    """
    if not folder.is_dir():
        return not folder.exists()
    ignored = set(besides)
    for temporary in stray_files(folder):
        content = content_of(temporary)
        ignored |= {temporary.name, content.name}
        with abandoned(temporary) as is_left:
            if is_left:
                ignored.update(moved_by(temporary))
    return names_in(folder) <= ignored


def check_vacant(folder: Path) -> None:
    """Refuse a folder that holds something, for a command that fills a whole folder.

    Raises:
        InputError: it is not vacant, or cannot be read.
    """
    if is_vacant(folder):
        return
    if folder.is_dir():
        remove_strays(folder, FOLDER)  # of a process that was killed when all was done
    raise InputError(f"{folder} is not an empty folder; use a new one")


def _no_folder(target: Path, folder: Path, error: OSError) -> InputError:
    """That nothing can be written into the folder of a target, perhaps as a file is in its place."""
    remedy = "choose a folder that you may write to"
    for place in (folder, *folder.parents):
        # Unlike `Path.exists`, these raise nothing, whatever is wrong with a path.
        if os.path.lexists(place) and not Path(place).is_dir():
            remedy = f"{place} is a file; choose another folder"
    return InputError(f"cannot write {target}: {error.strerror}; {remedy}")


def _unwritable(target: Path, error: OSError) -> InputError:
    remedy = "free some space or choose another folder"
    # Windows says no more than that it is not permitted.
    if isinstance(error, (IsADirectoryError, PermissionError)) and Path(target).is_dir():
        remedy = "it is a folder; give the name of a file"
    return InputError(f"cannot write {target}: {error.strerror or error}; {remedy}")


def _flush(file: Path) -> None:
    with open(file, "rb") as written:
        os.fsync(written.fileno())


def cache_folder() -> Path:
    """Where things are kept from one run to the next: `RANKFOLD_CACHE`, else `~/.cache/rankfold`."""
    chosen = os.environ.get("RANKFOLD_CACHE")
    if chosen:
        return Path(chosen)
    return Path.home() / ".cache" / "rankfold"


def check_target(path: str | Path, inputs: Iterable[str | Path | None] = ()) -> None:
    """Refuse to write to a file that a run is made of, or that the same command reads.

    Args:
        path: what is to be written; it may exist.
        inputs: files that the command reads; None among them is left out.

    Raises:
        InputError: `path` is one of them, or is a device or something else that is neither a file nor a
            folder.
    """
    target = Path(path)
    if target.exists() and not target.is_file() and not target.is_dir():
        raise InputError(f"{target} is no plain file; choose another file to write")
    if target.name in NEEDED and _is_of_run(target.parent):
        raise InputError(
            f"{target} is a file of the run in {target.parent}, which needs it; choose another file to write"
        )
    for given in inputs:
        if given is not None and os.path.realpath(given) == os.path.realpath(target):
            raise InputError(f"{target} is read by the same command; choose another file to write")


def _is_of_run(folder: Path) -> bool:
    return any((folder / marker).exists() for marker in MARKERS)


def read_bytes(path: Path) -> bytes:
    """What a file holds.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` to `path` atomically as indented JSON."""
    write_text(path, json.dumps(value, indent=2) + "\n")
