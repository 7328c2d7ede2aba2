"""The page of finished runs, written and told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def show_report(folders: Mapping[str | None, Path], page: Path, title: str | None = None) -> None:
    """Write the page of finished runs, print their comparison and where the page is.

    Args:
        folders: the runs by label; None labels a run by what it did.
        page: the HTML file.
        title: its heading.
    """
    from rankfold.report import load_run, summary_table, write_report

    runs = [load_run(folder, label) for label, folder in folders.items()]
    write_report(page, runs, title)
    print(summary_table(runs))
    print(f"report: {page}")
