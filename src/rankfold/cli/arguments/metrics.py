"""The metric that users name."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankfold.training.metric import Metric


def add_metric(parser: argparse.ArgumentParser) -> None:
    """Add `--metric`."""
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="what networks are measured by instead of top-1 accuracy, the higher the better: "
        "package.module:function, which takes the outputs and targets of all samples and gives a number; or "
        "a class with reset, update(outputs, targets) and compute",
    )


def given_metric(options: argparse.Namespace) -> Metric | None:
    """The metric of `--metric`; None: top-1 accuracy.

    Raises:
        InputError: it cannot be imported, or is none.
    """
    from rankfold.models.user_code import imported
    from rankfold.training.metric import Metric

    if options.metric is None:
        return None
    expected = "a function (outputs, targets) -> number, or a class with reset, update and compute"
    found = imported(options.metric, "metric", expected)
    return Metric.of(found)
