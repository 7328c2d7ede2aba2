"""`rankfold demo`: the main job on scikit-learn's digits, in a few minutes, without a download."""

from __future__ import annotations

import argparse
from pathlib import Path

from rankfold import run_files
from rankfold.cli.arguments.process import add_device, add_seed, prepare_process

TITLE = "Digits: dense, plain low-rank and group low-rank"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("rankfold-demo"),
        metavar="DIR",
        help="folder for the results (default rankfold-demo)",
    )
    parser.add_argument(
        "--epochs", type=int, default=10, metavar="N", help="epochs of each fine-tuning (default 10)"
    )
    add_seed(parser)
    add_device(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the demo and print its table and the path of the report."""
    from rankfold.cli.words.progress import Bars
    from rankfold.cli.words.report import show_report
    from rankfold.runs.demo import run_demo

    prepare_process(options.threads)
    folders = run_demo(options.out, options.epochs, options.seed, Bars(), options.device)
    page = options.out.resolve() / run_files.REPORT
    show_report(dict(folders.items()), page, TITLE)
    return 0
