"""`rankfold compress --reconstruct`: training without labels before the one with them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rankfold.cli.arguments.processes import started_together
from rankfold.cli.arguments.training import add_calibration_images
from rankfold.cli.arguments.values import refuse_given
from rankfold.errors import InputError, UnwantedArgumentError

if TYPE_CHECKING:
    from rankfold.training.reconstruction_recipe import Reconstruction


def add_reconstruction(parser: argparse.ArgumentParser) -> None:
    """Add `--reconstruct`, `--calibration-images` and `--steps`."""
    parser.add_argument(
        "--reconstruct",
        action="store_true",
        help="before fine-tuning, or with --epochs 0 instead of it, let each block learn to give the dense "
        "network's outputs on a few training images, whose labels are not looked at",
    )
    add_calibration_images(parser, "training images that --reconstruct looks at (default 512)")
    parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="steps of each block of --reconstruct, 32 images each (default 400)",
    )


def check_reconstruction(options: argparse.Namespace) -> None:
    """Refuse what does not go with `--reconstruct`, or what says nothing without it.

    Raises:
        InputError: there is such an option, or its value is wrong.
    """
    if not options.reconstruct:
        refuse_given(
            options, ("steps", "calibration_images"), "{flag} is of --reconstruct; add it, or omit {flag}"
        )
        return
    reconstruction(options)
    if options.noise_aware:
        raise UnwantedArgumentError(
            "--reconstruct has no arrays in the loop, as --noise-aware has; omit one of them",
            "reconstruct",
            "noise_aware",
        )
    if started_together():
        raise InputError("--reconstruct works in one process; omit torchrun")


def reconstruction(options: argparse.Namespace, there: int | None = None) -> Reconstruction | None:
    """How the network learns without labels; None: it does not.

    Args:
        options: as parsed.
        there: images that the data have to train on, which are enough where no number is asked for.

    Raises:
        InputError: a value is out of range.
    """
    from rankfold.training.reconstruction_recipe import BATCH, Reconstruction

    if not options.reconstruct:
        return None
    given = {}
    if there is not None:
        given["images"] = max(BATCH, min(Reconstruction.images, there))
    if options.calibration_images is not None:
        given["images"] = options.calibration_images
    if options.steps is not None:
        given["steps"] = options.steps
    return Reconstruction(**given)
