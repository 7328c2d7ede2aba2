"""`Table`: numbers as pages show them, by themselves or behind a chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

# Rows; of longer tables the first ones are shown.
MOST_ROWS = 1000


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        headers: of its columns.
        rows: as text.
        words: columns that hold words, which begin at the left.
        left_out: rows that are not shown.
    """

    headers: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    words: frozenset[int] = frozenset()
    left_out: int = field(default=0, kw_only=True)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = ()) -> Table:
    """A table of at most `MOST_ROWS` rows.

    Args:
        headers: of its columns.
        rows: as text, a cell for each column.
        words: columns that hold words; the first one always begins at the left.
    """
    left_out = max(0, len(rows) - MOST_ROWS)
    return Table(tuple(headers), rows[:MOST_ROWS], frozenset(words), left_out=left_out)
