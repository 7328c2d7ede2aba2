"""Descriptions that the package has as YAML files, beside those of users."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rankfold.errors import InputError, did_you_mean
from rankfold.files import package_data

SUFFIXES = (".yaml", ".yml", ".json")  # JSON is YAML too


@dataclass(frozen=True)
class Presets:
    """A folder of the package with descriptions.

    Attributes:
        what: they describe, in a word.
        folder: of `rankfold.machine`.
    """

    what: str
    folder: str

    @property
    def names(self) -> tuple[str, ...]:
        """What there is, in the order of the alphabet."""
        found = [entry.name for entry in self._files().iterdir() if entry.name.endswith(".yaml")]
        return tuple(sorted(name.removesuffix(".yaml") for name in found))

    def text(self, name: str | Path, known: tuple[str, ...]) -> str:
        """The YAML of a description, with its comments.

        Args:
            name: one of `names`, or the path of a file.
            known: the names that a complaint gives.

        Raises:
            InputError: there is none of that name, or the file cannot be read.
        """
        if str(name) in self.names:
            return (self._files() / f"{name}.yaml").read_text(encoding="utf-8")
        path = Path(name)
        if path.suffix.lower() not in SUFFIXES:
            hint = did_you_mean(str(name), known)
            raise InputError(
                f"{self.what} (={name}) must be one of {', '.join(known)}, or a .yaml file{hint}"
            )
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a path with a null character
            reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
            raise InputError(f"cannot read {self.what} {name}: {reason}") from None

    def _files(self) -> Path:
        return package_data("rankfold.machine") / self.folder
