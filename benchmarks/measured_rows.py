"""Tables of measurements that take hours: rows are written one by one, and none is measured twice.

For the scripts beside this one, which write to `results`.
"""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rankfold.records.csv_table import write_csv


class Rows:
    """A table in a CSV file, which grows row by row.

    Args:
        path: the file; rows that it holds are kept.
        header: the columns' names.
        keys: how many columns, from the left, say what was measured.
    """

    def __init__(self, path: Path, header: Sequence[str], keys: int) -> None:
        self.path, self.header, self._keys = path, tuple(header), keys
        self.rows: list[list[str]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                found, *self.rows = csv.reader(file)
            if tuple(found) != self.header:
                raise SystemExit(f"{path} has other columns than this script writes; move it away")

    def __contains__(self, key: Sequence[object]) -> bool:
        return [str(cell) for cell in key] in [row[: self._keys] for row in self.rows]

    def add(self, row: Sequence[object]) -> None:
        """Write a row at the end of the table."""
        self.rows.append(["" if cell is None else str(cell) for cell in row])
        write_csv(self.path, self.header, self.rows)

    def column(self, name: str) -> list[str]:
        """The cells of a column."""
        return [row[self.header.index(name)] for row in self.rows]


def commit() -> str:
    """The commit of the code, with `+` where the package or these scripts differ from it."""
    root = Path(__file__).resolve().parent.parent

    def git(*words: str) -> str:
        said = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
        return said.stdout.strip()

    changed = git("status", "--porcelain", "--", "src", "benchmarks")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def standard_error(share: float, images: int) -> float:
    """Of a share of images, as they were drawn from all there might be."""
    return float((share * (1 - share) / images) ** 0.5)
