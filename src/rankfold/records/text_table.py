"""Plain-text tables for terminals."""

from __future__ import annotations

from collections.abc import Sequence

LEFT, RIGHT = "<", ">"
GAP = "  "  # between two columns


def format_table(headers: Sequence[str], rows: Sequence[Sequence[str]], align: str | None = None) -> str:
    """Lay `rows` out in columns under `headers`.

    Args:
        headers: one title per column.
        rows: cells, already formatted.
        align: one `<` or `>` per column; default: first column left, the others right, as numbers go.

    Raises:
        ValueError: a row or `align` has another number of columns, or `align` other letters.
    """
    columns = len(headers)
    sides = align
    if sides is None:
        sides = LEFT + RIGHT * (columns - 1)
    for line in (*rows, sides):
        if len(line) != columns:
            raise ValueError(f"every row and align must have {columns} columns")
    others = set(sides) - {LEFT, RIGHT}
    if others:
        raise ValueError(f"align (={sides}) must consist of < and >")
    widths = _widths([headers, *rows])
    rule = ["-" * width for width in widths]
    lines = []
    for cells in (headers, rule, *rows):
        lines.append(_line(cells, sides, widths))
    return "\n".join(lines)


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    """Letters of the longest cell of each column."""
    widths = [0] * len(lines[0])
    for cells in lines:
        for column, cell in enumerate(cells):
            widths[column] = max(widths[column], len(cell))
    return widths


def _line(cells: Sequence[str], sides: str, widths: Sequence[int]) -> str:
    padded = []
    for cell, side, width in zip(cells, sides, widths, strict=True):
        padded.append(f"{cell:{side}{width}}")
    # Spaces at the end of a line wrap in narrow terminals, and stand in the way of comparing texts.
    return GAP.join(padded).rstrip()
