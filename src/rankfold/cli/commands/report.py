"""`rankfold report`: finished runs compared on one page."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("run_folders", nargs="+", type=Path, metavar="DIR", help="folder of a finished run")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="the HTML page; of existing files it replaces only HTML pages",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="also write the chart of accuracy against cycles, as SVG",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the page and print the comparison."""
    from rankfold.report import check_page, load_run, summary_table, write_report
    from rankfold.report.charts.picture import write_picture

    # Before anything is read: a file that is no page is never written over.
    check_page(options.out)
    # Several runs of one method differ by what the user called their folders.
    runs = [load_run(folder, folder.resolve().name) for folder in options.run_folders]
    write_report(options.out, runs)
    if options.picture is not None:
        write_picture(options.picture, runs)
    print(summary_table(runs))
    print(f"report: {options.out}")
    return 0
