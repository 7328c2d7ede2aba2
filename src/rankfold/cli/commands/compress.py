"""`rankfold compress`: the main job."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.cli.arguments.arrays import add_arrays, non_idealities
from rankfold.cli.arguments.networks import MODEL_HELP
from rankfold.cli.arguments.options import (
    add_array,
    add_entries,
    add_low_rank,
    add_rules,
    add_technology,
    add_training,
    bit_width,
    checked,
    image_input,
    show_report,
    training_settings,
)
from rankfold.errors import InputError
from rankfold.lowrank import DECOMPOSITIONS
from rankfold.mapping import DEFAULT_ARRAY, ArraySpec
from rankfold.plan import Plan
from rankfold.plan.plan import PLAIN, STEERINGS
from rankfold.runs.methods import METHODS

if TYPE_CHECKING:
    from rankfold.simulator import ArrayNonIdealities
    from rankfold.training.distillation import Distillation

UNSET = object()  # since None means float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("model", help=f"{MODEL_HELP}; ONNX files with --epochs 0")
    add_array(parser)
    parser.add_argument(
        "--method", choices=METHODS,
        help="low-rank (with --rank), patdnn or pairs (pattern pruning, with --entries), support (kernel positions that all "
        "outputs share, with --entries), quantise (bits alone), channel (with --ratio); default: low-rank with --rank, else "
        "quantise",
    )  # fmt: skip
    add_low_rank(parser)
    add_rules(parser)
    add_entries(
        parser, "positions kept of each kernel: by pattern pruning, by support, or with --rank by the first stage of pairs"
    )
    parser.add_argument("--block", type=int, metavar="N", help="output channels that share a pattern under pairs (default: all)")
    parser.add_argument(
        "--steering", choices=STEERINGS, default=PLAIN,
        help="count rows of pattern-pruned layers as skipped where nothing in a tile needs them (plain, the default), or as if "
        "each column got inputs of its own (ideal); the report shows both",
    )  # fmt: skip
    parser.add_argument("--ratio", type=float, metavar="S", help="share of the channels that channel pruning removes")
    parser.add_argument(
        "--bits", type=checked(bit_width), default=UNSET, help="of weights and activations, 1 to 8, or `float` (default 4)"
    )
    parser.add_argument(
        "--decomposition", choices=DECOMPOSITIONS,
        help="factors nearest to the weights (svd), to the layers' outputs on 512 training images (data, the default), or the "
        "same layer after layer, each taking back the errors of those before it (sequential); of an ONNX file data with --data, "
        "else svd",
    )  # fmt: skip
    parser.add_argument("--plan", type=Path, metavar="FILE", help="follow this plan instead of one (g, r) for all layers")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="weights of the dense network (.safetensors or a torch state dict)"
    )
    parser.add_argument(
        "--baseline-epochs", type=int, default=60, help="epochs for the dense network where it must be trained (default 60)"
    )
    parser.add_argument(
        "--noise-aware", action="store_true", help="fine-tune with the arrays below in the loop, programmed anew in every step"
    )
    _add_distillation(parser)
    add_arrays(parser)
    parser.add_argument(
        "--input", type=checked(image_input), metavar="CxHxW", help="image size of an ONNX file that leaves it open"
    )
    add_technology(parser, resolution=False)
    add_training(parser, epochs=10, rate=0.05)
    # An ONNX file is decomposed without data too (with --epochs 0); `run` asks for them otherwise.
    next(action for action in parser._actions if action.dest == "data").required = False
    parser.set_defaults(run=run)


def _add_distillation(parser: argparse.ArgumentParser) -> None:
    """Add `--distil [W]` and `--no-distil`: a weight, True, False, or None where neither is given."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--distil", type=checked(distillation_weight), nargs="?", const=True, metavar="W",
        help="share of the outputs of the dense network in what fine-tuning aims at (default 0.9), the labels have the rest",
    )  # fmt: skip
    group.add_argument(
        "--no-distil",
        action="store_false",
        dest="distil",
        default=None,
        help="fine-tune towards labels alone, in a fifth less time",
    )


def distillation_weight(text: str) -> float:
    """Read the weight of distillation.

    Raises:
        InputError: no number from 0 to 1.
    """
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight <= 1:
        raise InputError(f"weight (={text}) must be a share from 0 to 1, such as 0.9")
    return weight


def run(options: argparse.Namespace) -> int:
    """Compress a network and say where the results are."""
    if options.plan is not None:
        given = {
            "--method": options.method is not None,
            "--groups": options.groups is not None,
            "--entries": options.entries is not None,
            "--block": options.block is not None,
            "--steering": options.steering != PLAIN,
            "--ratio": options.ratio is not None,
            "--rank": options.rank is not None,
            "--bits": options.bits is not UNSET,
            "--pointwise": options.pointwise,
            "--linear": options.linear,
            "--fit": options.fit,
            "--include and --exclude": bool(options.rules),
        }
        for flag in (flag for flag, there in given.items() if there):
            raise InputError(f"--plan already says what every layer becomes; leave {flag} away, or edit {options.plan}")
    if options.model.lower().endswith(".onnx"):
        from rankfold.cli.commands import compress_onnx

        return compress_onnx.run(options, None if options.bits is UNSET else options.bits, _array(options))
    if options.input is not None:
        raise InputError("--input is for ONNX files; the data say how large the images of other networks are")
    if options.data is None:
        raise InputError("--data is missing: `digits`, a folder of Parquet shards or images by class, or a hub id")
    from rankfold.cli.words.progress import Bars
    from rankfold.runs.compress import compress
    from rankfold.runs.settings import BASELINE

    settings = training_settings(
        options,
        {
            "groups": options.groups,
            "rank": options.rank,
            "method": options.method,
            "entries": options.entries,
            "block": options.block,
            "steering": options.steering,
            "ratio": options.ratio,
            "bits": 4 if options.bits is UNSET else options.bits,
            "pointwise": options.pointwise,
            "linear": options.linear,
            "rules": options.rules,
            "fit": options.fit,
            "plan": options.plan,
            "decomposition": options.decomposition or "data",
            "checkpoint": options.checkpoint,
            "array": _array(options),
            "noise": _noise(options),
            "distillation": _distillation(options),
            "baseline_recipe": replace(BASELINE, epochs=options.baseline_epochs, batch_size=options.batch),
        },
    )
    compress(settings, Bars())
    show_report({None: options.out}, options.out / "report.html")
    return 0


def _array(options: argparse.Namespace) -> ArraySpec | None:
    """The array, with the cells and DACs that the options give it; None: all as in the plan, or the default."""
    given = {name: getattr(options, name) for name in ("cell_bits", "coding", "dac_bits") if getattr(options, name) is not None}
    if not given:
        return options.array
    array = options.array
    if array is None:
        array = DEFAULT_ARRAY if options.plan is None else Plan.load(options.plan).array
    return replace(array, **given)


def _distillation(options: argparse.Namespace) -> Distillation | None:
    from rankfold.runs.settings import DISTILLATION
    from rankfold.training.distillation import Distillation

    if options.distil is None or options.distil is True:
        return DISTILLATION
    return Distillation(options.distil) if options.distil else None


def _noise(options: argparse.Namespace) -> ArrayNonIdealities | None:
    chosen = non_idealities(options)
    if options.noise_aware:
        if chosen.ideal:
            raise InputError(
                "--noise-aware needs arrays that are not ideal; describe them, such as --adc-bits 6 --program-noise 0.03"
            )
        return chosen
    if not chosen.ideal:
        raise InputError("the noise of arrays goes with --noise-aware; add it, or simulate the finished run (rankfold simulate)")
    return None
