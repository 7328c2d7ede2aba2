"""What users choose of a method: its numbers and words, of which each is one option and one column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """A number or word that users choose of a method: one of its fields.

    Attributes:
        name: of the field, and of the option on the command line.
        short: what stands before its value in names of folders, and in tables.
        read: makes a value of an option's text, or raises ValueError or InputError.
        schema: JSON Schema of a value in grids.
        help: what it is, for the command line.
        example: of its text, for messages.
        sign: what stands for its value in help.
    """

    name: str
    short: str
    read: Callable[[str], Any]
    schema: Mapping[str, Any]
    _: KW_ONLY
    help: str
    example: str = "1"
    sign: str = "N"

    def in_grids(self, text: str) -> Any:
        """A value as grids have it: a text stays one, and means what it does as an option."""
        if self.schema.get("type") == "string":
            return text
        return self.read(text)


POSITIVE = {"type": "integer", "minimum": 1}

# Those that several families of methods have; each of the others stands beside its method.
RANK = Setting(
    "rank",
    "r",
    str,
    {"type": ["string", "integer"]},
    help="rank of every group (of windows: for each of their pixels): a number, or a fraction of the output "
    "channels such as 1/8",
    example="1/8",
    sign="r",
)
ENTRIES = Setting(
    "entries",
    "e",
    int,
    POSITIVE,
    help="positions kept of each kernel: by pattern pruning, by support, or with --rank by the first stage "
    "of pairs",
    example="4",
    sign="e",
)
