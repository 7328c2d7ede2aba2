"""What is written of an exploration: all points and the front as CSV files, and a page."""

from __future__ import annotations

from pathlib import Path

from rankfold.errors import InputError
from rankfold.explore.exploration import Exploration
from rankfold.files import write_text
from rankfold.records.csv_table import write_csv
from rankfold.report.exploration.page import exploration_page
from rankfold.report.exploration.rows import csv_rows
from rankfold.report.run_page.page import check_page

POINTS, FRONT, PAGE = "points.csv", "front.csv", "front.html"


def check_targets(folder: str | Path) -> None:
    """Refuse a folder that is none, or in which the page would take the place of something else.

    Raises:
        InputError: it is refused.
    """
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; give a folder for the results")
    check_page(path / PAGE)


def write_exploration(folder: str | Path, found: Exploration) -> tuple[Path, ...]:
    """Write `points.csv`, `front.csv` and `front.html` into a folder, each atomically.

    Returns:
        The files written.

    Raises:
        InputError: a file cannot be written, or must not be replaced.
    """
    check_targets(folder)
    path = Path(folder)
    # Made before anything is written: all files or none.
    page = exploration_page(found)
    write_csv(path / POINTS, *csv_rows(found, sorted(found.outcomes)))
    write_csv(path / FRONT, *csv_rows(found, found.front))
    write_text(path / PAGE, page)
    return path / POINTS, path / FRONT, path / PAGE
