"""Tables as CSV files (RFC 4180, with line feeds alone): the one writer of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rankfold.files import replacing

# Spreadsheets take a cell that begins so for a formula and run it. An apostrophe before it makes it a text.
RUN_BY_SPREADSHEETS = frozenset("=+-@\t\r")
ESCAPE = "'"
# Carriage returns too, which Python's own writer leaves as they are: readers begin a new row there.
QUOTED = re.compile(r'[",\r\n]')


def write_csv(
    path: str | Path,
    header: Sequence[str],
    rows: Iterable[Iterable[Any]],
    *,
    plain: bool = False,
) -> None:
    """Write a table atomically to `path`, as UTF-8.

    Args:
        path: the file.
        header: the columns' names.
        rows: cells in the order of the columns: texts, numbers, or None for an empty cell.
        plain: all cells of `rows` are texts that `is_plain` is true of, so that nobody has to look at them;
            long tables are written several times as fast.

    Raises:
        InputError: the file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(_line(header))
        # Row by row: a long table is never held as one text.
        if plain:
            file.writelines(f"{','.join(row)}\n" for row in rows)
        else:
            file.writelines(_line(row) for row in rows)


def csv_text(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """What `write_csv` writes, as text."""
    lines = [_line(header)]
    for row in rows:
        lines.append(_line(row))
    return "".join(lines)


def is_plain(text: str) -> bool:
    """Whether a cell is written as it is, with neither quotes nor an apostrophe."""
    return _cell(text) == text


def _line(row: Iterable[Any]) -> str:
    cells = []
    for cell in row:
        cells.append(_cell(cell))
    line = ",".join(cells)
    # An empty line would be no row at all.
    return (line or '""') + "\n"


def _cell(value: Any) -> str:
    """A cell as it stands in the file. Texts that are numbers, such as `-0.5`, are not run, and stay."""
    if value is None:
        return ""
    text = str(value)
    run = isinstance(value, str) and text[:1] in RUN_BY_SPREADSHEETS
    if run and not _is_number(text):
        text = ESCAPE + text
    if QUOTED.search(text) is None:
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
