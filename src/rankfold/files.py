"""File discipline shared by every step: write beside the target, then rename, so no reader sees half a file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rankfold.errors import InputError

LONGEST = 200  # letters of what a schema complains of


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; on success flush it to disk and rename it onto `path`.

    On any error the temporary file is removed and an existing `path` stays as it was.

    Raises:
        InputError: the folder cannot be written or the disk is full.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}; choose a folder that you may write to") from error
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes private files; a result is as readable as any file the user creates.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}; free some space or choose another folder") from error
    finally:
        temporary.unlink(missing_ok=True)


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
        InputError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error


def parse_yaml(text: str, where: str) -> Any:
    """The content of a YAML text, plain values only.

    Args:
        text: the YAML.
        where: what the text is, for complaints.

    Raises:
        InputError: not YAML, or nested without end.
    """
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: dates that do not exist
        raise InputError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None


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
    except jsonschema.ValidationError as error:
        place = "/".join(str(step) for step in error.absolute_path) or "top level"
        # The message shows the value, which may be a whole file.
        message = error.message if len(error.message) <= LONGEST else f"... {error.message[-LONGEST:]}"
        raise InputError(f"{what}: at {place}: {message}") from None
