"""`SearchSettings`: how long to search for plans, and where what is found is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rankfold.errors import InputError


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Attributes:
        trials: plans in all, those of other processes and of earlier calls among them; a plan that comes
            again counts, but is not measured again.
        study: the file that all of them share; None: nothing is kept.
        seed: of everything drawn.
    """

    trials: int = 200  # some eight generations of 24
    study: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                raise InputError(f"{name} (={value}) must be {least} or more")
