"""JSON files that say what they are: `_type` and `_version`, written and checked in one place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rankfold.documents import in_schema, read_json
from rankfold.errors import InputError
from rankfold.files import creating, write_json

TYPE, VERSION = "_type", "_version"  # the keys


def typed(kind: str, version: int, content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a file with its type, such as `rankfold.result`, and version before it."""
    return {TYPE: kind, VERSION: version, **content}


def write_typed(path: str | Path, kind: str, version: int, content: Mapping[str, Any]) -> None:
    """Write a file of this type and version atomically.

    Raises:
        InputError: it cannot be written.
    """
    write_json(path, typed(kind, version, content))


def create_typed(path: str | Path, kind: str, version: int, content: Mapping[str, Any]) -> None:
    """As `write_typed`, for a file that must be new: of several processes that write it, one succeeds.

    Raises:
        InputError: it is there, or cannot be written.
    """
    with creating(path) as temporary:
        write_json(temporary, typed(kind, version, content))


def is_typed(content: Any, kind: str, version: int) -> bool:
    """Whether what was read from a file is of this type and version."""
    # A JSON file may hold a list or a number as well.
    if not isinstance(content, dict):
        return False
    known = content.get(TYPE), content.get(VERSION)
    return known == (kind, version)


def read_typed(path: str | Path, kind: str, version: int, validator: Any = None) -> dict[str, Any]:
    """The content of a file of this type and version, without the two.

    Args:
        path: the file.
        kind: its type.
        version: its version.
        validator: of `records.schema`, for the content without the two; None: any content will do.

    Raises:
        InputError: the file is missing, not JSON, of another type or version, or not as the schema says; the
            message names the place.
    """
    content = read_json(path)
    what = kind.rpartition(".")[2]  # to people, a `rankfold.result` is a result
    if not is_typed(content, kind, version):
        expected = f"{TYPE} {kind}, {VERSION} {version}"
        raise InputError(f"{path} is not a {what} of this version; expected {expected}")
    own = dict(content)
    del own[TYPE], own[VERSION]
    if validator is not None:
        # What was asked for is known by now, so that the complaint can be about the place alone.
        in_schema(own, validator, f"{path} is not a complete {what}")
    return own
