"""Taking a file or a folder for some work: it is new, or it belongs to this very work, which goes on.

Work is known by its identity: everything that its results depend on. It is written down when the path is
taken, and compared when the work comes again. A process that is killed at any moment leaves a path that is
free, or that the same work takes up.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankfold.documents import read_json
from rankfold.errors import InputError
from rankfold.files import is_vacant
from rankfold.records.typed import is_typed
from rankfold.temporaries import remove_strays

IDENTITY = "identity"  # the key of the identity in files


@dataclass(frozen=True)
class Claim:
    """How one sort of work takes paths, and what is said where it cannot.

    Attributes:
        kind: `_type` of the file that holds the identity.
        version: its `_version`.
        other: what is said of a path of other work, such as `holds another run (other {keys})`; `{keys}` are
            the parts of the identity that differ.
        same: what is said of a path of the same work that is not to go on.
        elsewhere: what the user may do, such as `use another folder`.
        nested: whether the identity is one value of the file; else its parts are values themselves.
        later: parts of an identity that older versions did not write; where they are missing, they are not
            compared.
    """

    kind: str
    version: int
    other: str
    same: str
    elsewhere: str
    nested: bool = True
    later: Collection[str] = ()

    def file(self, path: Path, identity: Mapping[str, Any], resume: bool) -> dict[str, Any] | None:
        """Take a file for the work of `identity`.

        Args:
            path: the file.
            identity: of the work, as `as_read_back` gives it.
            resume: whether the work may go on where the file has it already.

        Returns:
            What the file holds of this work; None: it is new.

        Raises:
            InputError: it is a folder, holds something else, or this work without `resume`.
        """
        if path.is_dir():
            raise InputError(f"{path} is a folder; give a file for the result")
        if not path.exists():
            return None
        return self._held(path, path, identity, resume)

    def folder(
        self,
        path: Path,
        marker: str,
        identity: Mapping[str, Any],
        resume: bool,
        *,
        work: str,
        besides: Collection[str] = (),
    ) -> dict[str, Any] | None:
        """Take a folder for the work of `identity`; the caller writes the marker where it is new.

        Temporary files that a killed process left in it are removed.

        Args:
            path: the folder, which need not be there.
            marker: name of the file in it that holds the identity.
            identity: of the work, as `as_read_back` gives it.
            resume: whether the work may go on where the folder has it already.
            work: what the work is, in a word.
            besides: names of entries that a folder without a marker may have.

        Returns:
            What the marker holds; None: the folder is new.

        Raises:
            InputError: it is a file, holds something else, or this work without `resume`.
        """
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; give a folder for the results")
        held = None
        # The marker is the first file that work writes: without it, nothing in the folder can be its own.
        if (path / marker).exists():
            held = self._held(path, path / marker, identity, resume)
        elif not is_vacant(path, besides):
            raise InputError(f"{path} is not empty and holds no {work}; use an empty or a new folder")
        # Last, when the folder is known to be free or ours: nothing of other work is touched.
        if path.is_dir():
            remove_strays(path)
        return held

    def _held(
        self,
        path: Path,
        file: Path,
        identity: Mapping[str, Any],
        resume: bool,
    ) -> dict[str, Any]:
        """The content of `file`, which says that `path` is of the work of `identity`."""
        content = read_json(file)
        known = content
        if self.nested and isinstance(content, dict):
            known = content.get(IDENTITY)
        ours = is_typed(content, self.kind, self.version)
        if not ours or not isinstance(known, dict):
            raise InputError(f"{file} is not ours ({self.kind}), or of another version; {self.elsewhere}")
        keys = set(identity)
        # Beside the parts of an identity, a flat file holds values that tell nothing of the work.
        if self.nested:
            keys |= set(known)
        keys -= set(self.later) - set(known)
        different = []
        for key in sorted(keys):
            if known.get(key) != identity.get(key):
                different.append(key)
        if different:
            words = self.other.format(keys=", ".join(different))
            raise InputError(f"{path} {words}; {self.elsewhere}")
        # Other work is refused first: `--resume` would be the wrong advice for it.
        if not resume:
            raise InputError(f"{path} {self.same}; give resume=True to go on with it, or {self.elsewhere}")
        held: dict[str, Any] = content
        return held


def as_read_back(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity as it will be read from its file: tuples are lists there."""
    content: dict[str, Any] = json.loads(json.dumps(identity))
    return content
