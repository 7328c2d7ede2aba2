"""The metric that users name."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankfold.calibration.outputs import OutputModel
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


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add `--outputs`."""
    parser.add_argument(
        "--outputs",
        metavar="WHAT[:DIM]",
        help="what the network's outputs are taken for: scores before a softmax, probabilities after one, "
        "over dimension 1 or DIM, or values of any other sort, whose channels are in DIM (default: one "
        "output of shape (images, classes) is scores, all else values)",
    )


def taken_for(options: argparse.Namespace) -> OutputModel | None:
    """What `--outputs` says; None: as is usual.

    Raises:
        InputError: it is not to be understood.
    """
    from rankfold.calibration.outputs import OutputModel

    return None if options.outputs is None else OutputModel.parse(options.outputs)


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
