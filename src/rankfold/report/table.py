"""Plain-text tables for terminals."""

from __future__ import annotations

from collections.abc import Sequence


def format_table(headers: Sequence[str], rows: Sequence[Sequence[str]], align: str | None = None) -> str:
    """Lay `rows` out in columns under `headers`.

    Args:
        headers: one title per column.
        rows: cells, already formatted.
        align: one `<` or `>` per column; default: first column left, the others right, as numbers go.

    Raises:
        ValueError: a row or `align` has another number of columns, or `align` other letters.
    """
    sides = align if align is not None else "<" + ">" * (len(headers) - 1)
    if any(len(row) != len(headers) for row in [*rows, sides]):
        raise ValueError(f"every row and align must have {len(headers)} columns")
    if set(sides) - set("<>"):
        raise ValueError(f"align (={sides}) must consist of < and >")
    widths = [max(len(row[column]) for row in (headers, *rows)) for column in range(len(headers))]
    lines = [headers, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)).rstrip()
        for line in lines
    )
