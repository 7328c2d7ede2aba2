"""`rankfold evaluate`: the accuracy of a finished run again, from its files alone."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from rankfold.cli.arguments.metrics import add_metric, add_outputs, given_metric
from rankfold.cli.arguments.models import add_checkpoint, add_factory
from rankfold.cli.arguments.process import add_device, prepare_process

if TYPE_CHECKING:
    from rankfold.runs.evaluate_folder import Evaluation

# What sums in another order change of an accuracy at most: a share, and as many images where these are few.
BY_DEVICE, FEW = 0.01, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "run_folder",
        metavar="DIR",
        help="folder of a finished run or of save, or the name of shipped weights",
    )
    add_factory(parser)
    add_checkpoint(parser)
    parser.add_argument(
        "--data",
        required=True,
        metavar="DATA",
        help="data set with a test split; without labels the outputs are compared with the original "
        "network's, unless there are targets for --metric",
    )
    parser.add_argument(
        "--shift",
        type=int,
        default=0,
        metavar="N",
        help="move the test images by N pixels, each in one of eight directions; what comes in is the "
        "image's reflection (default 0)",
    )
    add_metric(parser)
    add_outputs(parser)
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the accuracy, the metric, or the likeness to the original network."""
    from rankfold.cli.words.progress import Bars
    from rankfold.models.pretrained import run_folder
    from rankfold.runs.evaluate_folder import evaluate_folder

    prepare_process(options.threads)
    evaluation = evaluate_folder(
        run_folder(options.run_folder),
        options.data,
        options.device,
        factory=options.factory,
        trust_code=options.trust_code,
        shift=options.shift,
        metric=given_metric(options),
        checkpoint=options.checkpoint,
        outputs=options.outputs,
        progress=Bars(),
    )
    if options.json:
        content = asdict(evaluation)
        # Top-1 accuracy needs no name.
        if not evaluation.metric:
            del content["metric"]
        print(json.dumps(content))
        return 0
    print(_in_words(evaluation))
    reported = evaluation.reported
    if reported is not None and evaluation.same_data and evaluation.accuracy != reported:
        # Convolution libraries add in another order with other threads or processors.
        causes = "another device or number of threads"
        if evaluation.metric:
            causes += ", or from another metric of this name"
        elif abs(evaluation.accuracy - reported) > max(BY_DEVICE, FEW / evaluation.images):
            causes = "files of the run that were changed since it ended, or are damaged"
        print(
            f"note: this is the run's own data, so the difference likely comes from {causes}", file=sys.stderr
        )
    return 0


def _in_words(evaluation: Evaluation) -> str:
    """What was measured, on what, and what the run reported."""
    from rankfold.report.numbers import plural
    from rankfold.training.metric import in_words

    measured = in_words(evaluation.accuracy, evaluation.metric)
    words = f"test accuracy {measured} on {evaluation.images} images"
    if evaluation.metric:
        words = f"{measured} on {evaluation.images} test images"
    if evaluation.shift:
        words += f", moved by {evaluation.shift} {plural('pixel', evaluation.shift)}"
    if evaluation.reported is not None:
        words += f" (the run reported {in_words(evaluation.reported, evaluation.metric)})"
    return words
