"""`ArraySpec`: the in-memory-computing array that layers are mapped onto."""

from __future__ import annotations

from dataclasses import dataclass

from rankfold.errors import InputError
from rankfold.workload.shape import is_count


@dataclass(frozen=True)
class ArraySpec:
    """One R x C array.

    Attributes:
        rows: R, word lines: inputs driven at once.
        columns: C, bit lines: outputs read at once. One weight takes one column.
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        for label, value in (("rows", self.rows), ("columns", self.columns)):
            if not isinstance(value, int) or not 1 <= value <= 1 << 20:
                raise InputError(f"array {label} (={value}) must be a whole number from 1 to {1 << 20}")

    @classmethod
    def parse(cls, text: str) -> ArraySpec:
        """Read `64x64` (rows x columns).

        Raises:
            InputError: the text is not two positive whole numbers with an x between.
        """
        parts = text.strip().lower().split("x")
        if len(parts) != 2 or not all(is_count(part) for part in parts):
            raise InputError(f"array (={text}) must be rows x columns, such as 64x64 or 512x256")
        return cls(int(parts[0]), int(parts[1]))

    @property
    def cells(self) -> int:
        """R * C."""
        return self.rows * self.columns

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"


DEFAULT_ARRAY = ArraySpec(64, 64)
