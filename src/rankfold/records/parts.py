"""A file that remembers which parts of some long work are done."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankfold.errors import InputError
from rankfold.files import read_json, write_json

VERSION = 1


@dataclass
class PartsFile:
    """The parts of some long work that are done, on disk after each of them.

    Attributes:
        path: the file; None: nothing is saved.
        kind: what it holds, as its `_type`.
        identity: everything that the parts depend on.
        done: the value of each part that is done.
    """

    path: Path | None
    kind: str
    identity: dict[str, Any]
    done: dict[str, Any]

    @classmethod
    def claim(cls, path: Path | None, kind: str, identity: dict[str, Any], resume: bool) -> PartsFile:
        """Take `path` for the work of `identity`, or go on with it.

        Raises:
            InputError: it is a folder, holds other work, or this work without `resume`.
        """
        identity = json.loads(json.dumps(identity))  # as it will be read back
        if path is not None and path.is_dir():
            raise InputError(f"{path} is a folder; give a file for the result")
        if path is None or not path.exists():
            return cls(path, kind, identity, {})
        content = read_json(path)
        if not isinstance(content, dict) or content.get("_type") != kind or not isinstance(content.get("done"), dict):
            raise InputError(f"{path} is not ours ({kind}); give another file")
        if content.get("_version") != VERSION:
            raise InputError(f"{path} is of another version ({content.get('_version')}, not {VERSION}); give another file")
        if content.get("identity") != identity:
            raise InputError(f"{path} holds other work of this kind, with other settings; give another file")
        if not resume:
            raise InputError(f"{path} already holds this work; add --resume to go on with it, or give another file")
        return cls(path, kind, identity, content["done"])

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """The value of `key`, computed and saved if it is not there yet."""
        if key not in self.done:
            self.done[key] = compute()
            self.save()
        return self.done[key]

    def save(self, **more: Any) -> None:
        """Write all parts, and `more` beside them."""
        if self.path is not None:
            write_json(self.path, {"_type": self.kind, "_version": VERSION, "identity": self.identity, "done": self.done, **more})
