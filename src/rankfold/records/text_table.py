"""Plain-text tables for terminals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

LEFT, RIGHT = "<", ">"
GAP = "  "  # between two columns
LONGEST_NAME = 60  # letters of a layer's name in a table

# Headers, rows and sides -> a text.
Drawing = Callable[[Sequence[str], Sequence[Sequence[str]], str], str]
_drawing: ContextVar[Drawing | None] = ContextVar("drawing", default=None)


@contextmanager
def drawn_by(drawing: Drawing) -> Iterator[None]:
    """Inside, `format_table` gives what `drawing` makes of a table, such as one that fits a terminal."""
    before = _drawing.set(drawing)
    try:
        yield
    finally:
        _drawing.reset(before)


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
    drawing = _drawing.get()
    if drawing is not None:
        return drawing(headers, rows, sides)
    widths = column_widths([headers, *rows])
    rule = ["-" * width for width in widths]
    lines = []
    for cells in (headers, rule, *rows):
        lines.append(_line(cells, sides, widths))
    return "\n".join(lines)


def column_widths(lines: Sequence[Sequence[str]]) -> list[int]:
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


def with_short_names(rows: Sequence[Sequence[str]], longest: int = LONGEST_NAME) -> list[list[str]]:
    """Rows whose first cells are names, with names above `longest` letters shortened in the middle.

    Some exporters name a layer after all that was fused into it, in hundreds of letters. Names that differ
    stay different: all are cut at a greater length where two would look the same.

    Args:
        rows: of a table.
        longest: letters of a name.
    """
    names = {row[0] for row in rows}
    widest = max((len(name) for name in names), default=0)
    while longest < widest and len({shortened(name, longest) for name in names}) < len(names):
        longest += longest // 2
    return [[shortened(row[0], longest), *row[1:]] for row in rows]


def shortened(name: str, longest: int) -> str:
    """A name without its middle; the end, which tells most, keeps two thirds of the letters.

    Args:
        name: of a layer, or any text.
        longest: letters that it may have.
    """
    if len(name) <= longest:
        return name
    end = 2 * longest // 3
    return f"{name[: longest - end - 1]}…{name[-end:]}"
