"""File discipline shared by every step: write beside the target, then rename: no reader sees half a file."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rankfold.errors import InputError
from rankfold.run_files import MARKERS, NEEDED

LONGEST = 240  # letters of what a schema complains of
LARGEST_YAML = 1_000_000  # values of a YAML file; our largest grid has a few hundred
LONGEST_NUMBER = 1000  # digits of a whole number
TEMPORARY = re.compile(r"\.(?P<target>.+)\.[a-z0-9_]{8}\.tmp", re.DOTALL)  # as `replacing` names its files
FOLDER = "rankfold"  # stands for the target in the name of the temporary of a whole folder
CONTENT = ".files.tmp"  # ends the name of the folder beside that temporary
STRAY_AGE = 3600  # seconds after which a temporary is taken for left over, where the file system has no locks


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
        temporary, lock = _new_temporary(target.parent, target.name)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror}; choose a folder that you may write to"
        ) from error
    try:
        yield temporary
        _flush(temporary)
        # mkstemp makes private files; a result is as readable as any file the user creates.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        finish(temporary, target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)
        _close(lock)


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
        temporary, lock = _new_temporary(target, FOLDER)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror}; choose a folder that you may write to"
        ) from error
    content = _content_of(temporary)
    try:
        content.mkdir()
        yield content
        for file in content.rglob("*"):
            if file.is_file():
                _flush(file)
        check_vacant(target)  # another process may have filled it
        names = sorted(_names(content))
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
        _discard(temporary)
        _close(lock)
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
        content = _content_of(temporary)
        ignored |= {temporary.name, content.name}
        with _abandoned(temporary) as abandoned:
            if abandoned:
                ignored.update(_moved(temporary))
    return _names(folder) <= ignored


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


def stray_files(folder: Path, target: str | None = None) -> list[Path]:
    """Temporary files in a folder, whether they are left over or being written.

    Args:
        folder: the folder.
        target: name of the file that they were to become; None: of any file.

    Raises:
        InputError: the folder cannot be read.
    """
    found = []
    for name in sorted(_names(folder)):
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
        with _abandoned(temporary) as abandoned, suppress(OSError):  # what may not be removed stays
            if abandoned:
                _discard(temporary)


def _names(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise InputError(f"cannot read folder {folder}: {error.strerror}") from error


def _unwritable(target: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot write {target}: {error.strerror or error}; free some space or choose another folder"
    )


def _flush(file: Path) -> None:
    with open(file, "rb") as written:
        os.fsync(written.fileno())


# A temporary is locked by the process that writes it, for as long as that process lives: the system drops the
# lock of a killed process at once. So a temporary that can be locked is left over and may go, and one that
# cannot is being written. No process number and no clock has to be trusted: numbers are used again, and mean
# nothing in other containers and on other machines, which may all write into one folder. Linux passes such
# locks on over NFS as well. Only where a file system knows no locks, the age decides.


def _new_temporary(folder: Path, target: str) -> tuple[Path, int | None]:
    """A new temporary file and the handle that keeps it locked; None where there are no locks."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{target}.", suffix=".tmp", dir=folder)
        try:
            _lock(handle, wait=True)
        except OSError:
            os.close(handle)
            return Path(name), None
        if Path(name).exists():
            return Path(name), handle
        os.close(handle)  # it was taken for left over before it was locked


@contextmanager
def _abandoned(temporary: Path) -> Iterator[bool]:
    """Whether the writer of a temporary file is gone; if so, it stays locked within."""
    handle = None
    if sys.platform != "win32":  # where a file that is open cannot be removed
        with suppress(OSError):  # it has gone, or is another user's
            handle = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW)
    try:
        yield _is_free(temporary, handle)
    finally:
        _close(handle)


def _is_free(temporary: Path, handle: int | None) -> bool:
    if handle is not None:
        try:
            _lock(handle, wait=False)
            return True
        except BlockingIOError:
            return False
        except OSError:
            pass  # no locks on this file system
    try:
        return time.time() - temporary.stat().st_mtime > STRAY_AGE
    except OSError:
        return False


def _lock(handle: int, wait: bool) -> None:
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


def _close(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)


def _content_of(temporary: Path) -> Path:
    """The folder of what `replacing_folder` writes, beside its temporary file."""
    return temporary.with_name(temporary.name.removesuffix(".tmp") + CONTENT)


def _moved(temporary: Path) -> list[str]:
    """Entries that an unfinished `replacing_folder` has moved, or was about to move, out of its folder."""
    if not _content_of(temporary).is_dir():
        return []
    try:
        names = json.loads(temporary.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []  # killed before the names were complete, and thus before anything was moved
    if not isinstance(names, list):
        return []
    return names


def _discard(temporary: Path) -> None:
    """Remove a temporary file and, of a folder, all that was made for it."""
    # What tells of the rest goes last: killed in between, the next process knows of it.
    moved = _moved(temporary)
    for name in _names(temporary.parent) & set(moved):
        entry = temporary.parent / name
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    content = _content_of(temporary)
    if content.is_dir():
        shutil.rmtree(content)
    temporary.unlink(missing_ok=True)


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


def read_json(path: str | Path) -> Any:
    """Read JSON from `path`.

    Raises:
        InputError: the file is missing, unreadable or not JSON; numbers that are not finite are no JSON.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        return json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_refused)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # ValueError: of JSON, of UTF-8 and of the numbers below
        raise InputError(f"{path} is not valid JSON: {error}") from error


def _whole(digits: str) -> int:
    # Python refuses longer ones with advice for programmers.
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"a whole number of {len(digits):,} digits is too long")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:LONGEST]} is too large")
    return value


def _refused(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def parse_yaml(text: str, where: str) -> Any:
    """The content of a YAML text, plain values only.

    Args:
        text: the YAML.
        where: what the text is, for complaints.

    Raises:
        InputError: not YAML, nested without end, or far more by its aliases than it seems.
    """
    content = _yaml_content(text, where)
    if _written_out(content) > LARGEST_YAML:
        raise InputError(
            f"{where} repeats parts of itself until it has more than {LARGEST_YAML:,} values; "
            "write them without aliases (*)"
        )
    return content


def _yaml_content(text: str, where: str) -> Any:
    import yaml

    fast = getattr(yaml, "CSafeLoader", None)
    if fast is not None:
        try:
            return yaml.load(text, fast)
        except (yaml.YAMLError, ValueError, RecursionError):
            pass  # read again below, by the loader whose complaints name the place
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: dates that do not exist
        sentence = " ".join(str(error).split())  # it comes in several lines
        raise InputError(f"{where} is not valid YAML: {sentence}") from None


def _written_out(content: Any) -> float:
    """The values that a YAML content has with its aliases written out; infinite if one is within itself.

    An alias (`*a`) is the very object that its anchor (`&a`) made, so a file of ten lines may stand for
    10^9 values: each list holds the one before it ten times. Let n(v) be the number of values in v, itself
    included: n(v) = 1 + the sum of n(c) over its members c. Every object is counted once and its count kept,
    so that the time is that of the file and not of what it stands for.
    """
    counts: dict[int, float] = {}
    # Depth first with a stack of our own: a file may be nested more deeply than Python calls itself.
    waiting: list[tuple[Any, bool]] = [(content, False)]
    while waiting:
        value, is_open = waiting.pop()
        members = _members(value)
        if is_open:
            counts[id(value)] = 1 + sum(counts.get(id(member), 1) for member in members)
        elif members and id(value) not in counts:
            # Until it is closed again: whoever meets it meanwhile is within it.
            counts[id(value)] = math.inf
            waiting.append((value, True))
            waiting.extend((member, False) for member in members)
    return counts.get(id(content), 1)


def _members(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | set | tuple):
        return list(value)
    return []


def in_schema(content: Any, validator: Any, what: str) -> None:
    """Refuse content that does not follow a JSON schema.

    Args:
        content: what was read.
        validator: of `jsonschema`, for the schema.
        what: the start of the complaint, such as `mine.yaml is not a component table`.

    Raises:
        InputError: it does not; the message names the place.
    """
    import jsonschema

    try:
        validator.validate(content)
    except RecursionError:  # some readers stop at such files, and others do not
        raise InputError(f"{what}: it is nested too deeply") from None
    except jsonschema.ValidationError as error:
        place = "/".join(str(step) for step in error.absolute_path) or "top level"
        message = error.message
        # It shows the value, which may be a whole file; what is wrong with it stands at the end.
        if len(message) > LONGEST:
            message = f"... {message[-LONGEST:]}"
        raise InputError(f"{what}: at {place}: {message}") from None
