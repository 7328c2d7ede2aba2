"""Tables that fit a terminal, and colours there; what is piped is plain, and always the same.

Colours are left out where `NO_COLOR` says so (https://no-color.org) or the terminal has none.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rankfold.records.text_table import GAP, LEFT, column_widths, drawn_by, shortened, with_short_names

NARROWEST = 12  # letters that names and texts keep on the narrowest terminal


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody reads this on a terminal, now and in letters beyond ASCII."""
    encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
    return stream.isatty() and encoding.startswith("utf")


def has_colours(stream: TextIO) -> bool:
    """Whether what is written there may have colours."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def error_line(message: str) -> str:
    """A complaint as the line that is printed."""
    name = "rankfold:"
    if has_colours(sys.stderr):
        name = f"\x1b[1;31m{name}\x1b[0m"
    return f"{name} {message}"


@contextmanager
def fitted_tables() -> Iterator[None]:
    """Inside, tables fit the terminal; as they are where there is none.

    Tables are printed to both streams, so that both have to be one.
    """
    if not (is_terminal(sys.stdout) and is_terminal(sys.stderr)):
        yield
        return
    with drawn_by(_drawn):
        yield


def _drawn(headers: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> str:
    """The table in as many parts, one below the other, as it takes for each to fit.

    Each part begins with the first column, which names the rows.
    """
    width = shutil.get_terminal_size().columns
    lines = _narrowed(headers, rows, width)
    parts = []
    for columns in _parts(column_widths(lines), width):
        part = [[cells[column] for column in columns] for cells in lines]
        parts.append(_coloured(part, "".join(sides[column] for column in columns)))
    return "\n\n".join(parts)


def _narrowed(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """Headers and rows, with names and texts shortened that leave no room for any other column."""
    named = [list(headers), *with_short_names(rows, max(width // 2, NARROWEST))]
    room = max(width - column_widths(named)[0] - len(GAP), NARROWEST)
    return [[cells[0], *(shortened(cell, room) for cell in cells[1:])] for cells in named]


def _parts(widths: Sequence[int], width: int) -> list[list[int]]:
    """Columns that stand side by side, part by part."""
    parts = [[0]]
    used = widths[0]
    for column in range(1, len(widths)):
        needed = len(GAP) + widths[column]
        if used + needed > width and len(parts[-1]) > 1:
            parts.append([0])
            used = widths[0]
        parts[-1].append(column)
        used += needed
    return parts


def _coloured(lines: Sequence[Sequence[str]], sides: str) -> str:
    """A part as rich draws it."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    headers, *rows = lines
    width = sum(column_widths(lines)) + len(GAP) * len(sides)
    # Without settings of the environment: it is asked above, and not all of it is of this text.
    console = Console(width=width, force_terminal=True, color_system="standard", _environ={})
    if not has_colours(sys.stdout):
        console = Console(width=width, color_system=None, _environ={})
    table = Table(
        box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold cyan", padding=(0, 1, 0, 0)
    )
    for header, side in zip(headers, sides, strict=True):
        if side == LEFT:
            table.add_column(Text(header), no_wrap=True)
        else:
            table.add_column(Text(header), no_wrap=True, justify="right")
    for cells in rows:
        # As text, in which no letter means a style.
        table.add_row(*(Text(cell) for cell in cells))
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
