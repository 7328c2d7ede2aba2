"""`OnChip`: the copies of each layer on a described chip, where a plan was made for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Copies = tuple[tuple[int, ...], ...]  # of each stage of a layer, one number for each of its matrices


@dataclass(frozen=True)
class OnChip:
    """What a plan says of a chip beside what layers become.

    Attributes:
        chip: its name.
        copies: by layer: of each stage, how often the tiles of each of its matrices are there.
    """

    chip: str
    copies: Mapping[str, Copies]

    def to_json(self) -> dict[str, Any]:
        """As plan files have it."""
        copies = {name: [list(stage) for stage in stages] for name, stages in self.copies.items()}
        return {"name": self.chip, "copies": copies}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> OnChip:
        """From a plan file that follows the schema."""
        copies = {name: tuple(tuple(stage) for stage in stages) for name, stages in content["copies"].items()}
        return cls(content["name"], copies)
