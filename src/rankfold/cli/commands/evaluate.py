"""`rankfold evaluate`: the accuracy of a finished run again, from its files alone."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("run_folder", metavar="DIR", help="folder of a finished run, or the name of shipped weights")
    parser.add_argument("--data", required=True, metavar="DATA", help="data set with a test split")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default auto)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the accuracy."""
    from rankfold.models.pretrained import SHIPPED, shipped
    from rankfold.runs.evaluate import evaluate_folder

    folder = shipped(options.run_folder).folder if options.run_folder in SHIPPED else options.run_folder
    found = evaluate_folder(folder, options.data, options.device)
    if options.json:
        print(json.dumps(asdict(found)))
        return 0
    print(f"test accuracy {found.accuracy:.2%} on {found.images} images (the run reported {found.reported:.2%})")
    if found.same_data and found.accuracy != found.reported:
        # Convolution libraries add in another order with other threads or processors.
        print(
            "note: this is the run's own data, so the difference comes from another device or number of threads", file=sys.stderr
        )
    return 0
