"""`rankfold train`: a dense float baseline from fresh weights."""

from __future__ import annotations

import argparse
from dataclasses import replace

from rankfold.cli.arguments.options import (
    add_array,
    add_technology,
    add_training,
    show_report,
    training_settings,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("model", help="a zoo network or package.module:factory")
    add_array(parser)
    add_technology(parser)
    add_training(parser, epochs=60, rate=0.2)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train a network and say where the results are."""
    from rankfold.cli.words.progress import Bars
    from rankfold.runs.compress import train_baseline

    settings = training_settings(options, {"bits": None})
    train_baseline(replace(settings, baseline_recipe=settings.recipe), Bars())
    show_report({None: options.out}, options.out / "report.html")
    return 0
