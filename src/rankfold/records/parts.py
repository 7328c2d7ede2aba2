"""A file that remembers which parts of some long work are done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankfold.documents import in_schema
from rankfold.records.claim import IDENTITY, Claim, as_read_back
from rankfold.records.typed import create_typed, write_typed

VERSION = 1
DONE = "done"


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
    def claim(
        cls,
        path: Path | None,
        kind: str,
        identity: Mapping[str, Any],
        resume: bool,
        validator: Any,
    ) -> PartsFile:
        """Take `path` for the work of `identity`, or go on with it.

        Args:
            path: the file; None: nothing is saved.
            kind: what it holds, as its `_type`.
            identity: everything that the parts depend on, as JSON.
            resume: whether to go on with this work where the file has it already.
            validator: of `records.schema`, for the file's content.

        Raises:
            InputError: it is a folder, holds other work or no work at all, or this work without `resume`;
                another process took it a moment ago.
        """
        # As the file gives it back, or the same work would not know its own tuples again.
        own = as_read_back(identity)
        new = cls(path, kind, own, {})
        if path is None:
            return new
        claim = Claim(
            kind,
            VERSION,
            other="holds other work of this kind, with other settings",
            same="already holds this work",
            elsewhere="give another file",
        )
        content = claim.file(path, own, resume)
        if content is None:
            # At once, not with the first part: of several processes that begin together, one has the file.
            create_typed(path, kind, VERSION, {IDENTITY: own, DONE: {}})
            return new
        # Only now, since files of other work are refused for what they are, whatever they hold.
        what = kind.rpartition(".")[2]
        in_schema(content, validator, f"{path} is not a complete {what}")
        return cls(path, kind, own, content[DONE])

    def once(self, key: str, compute: Callable[[], Any]) -> Any:
        """The value of `key`, computed and saved if it is not there yet."""
        if key not in self.done:
            self.done[key] = compute()
            self.save()  # at once: a process that is killed loses no more than one part
        return self.done[key]

    def save(self, **more: Any) -> None:
        """Write all parts, and `more` beside them."""
        if self.path is not None:
            content = {IDENTITY: self.identity, DONE: self.done, **more}
            write_typed(self.path, self.kind, VERSION, content)
