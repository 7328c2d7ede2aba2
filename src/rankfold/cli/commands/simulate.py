"""`rankfold simulate`: a finished run on its arrays."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.cli.arguments.arrays import add_arrays, non_idealities
from rankfold.cli.arguments.options import prepare_process
from rankfold.errors import InputError

if TYPE_CHECKING:
    from rankfold.runs.simulation import LayerErrors, Simulation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "run_folder",
        metavar="DIR",
        help="folder of a finished, quantised run, or the name of shipped weights",
    )
    parser.add_argument(
        "--data", required=True, metavar="DATA", help="data set with a training and a test split"
    )
    add_arrays(parser)
    parser.add_argument(
        "--digital",
        action="append",
        default=[],
        metavar="LAYER",
        help="leave this layer to digital logic; may be repeated",
    )
    parser.add_argument("--repeats", type=int, default=5, help="chips, each programmed anew (default 5)")
    parser.add_argument("--images", type=int, metavar="N", help="test images, drawn at random (default all)")
    parser.add_argument(
        "--layer-images",
        type=int,
        default=500,
        metavar="N",
        help="test images for the layers' errors; 0: none (default 500)",
    )
    parser.add_argument("--seed", type=int, default=0, help="fixes everything drawn at random (default 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default auto)")
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="save the result, and what is done so far, in this JSON file"
    )
    parser.add_argument("--resume", action="store_true", help="go on with what FILE holds")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(
        run=run, interrupted="with --out FILE, the same command and --resume goes on where it stopped"
    )


def run(options: argparse.Namespace) -> int:
    """Simulate and print what was found."""
    from rankfold.cli.words.progress import Steps
    from rankfold.models.pretrained import SHIPPED, shipped
    from rankfold.runs.simulate import simulate_run
    from rankfold.runs.simulation import SimulationSettings

    if options.resume and options.out is None:
        raise InputError("--resume needs the --out FILE that the stopped simulation was given")
    prepare_process(options.threads)
    folder = shipped(options.run_folder).folder if options.run_folder in SHIPPED else options.run_folder
    settings = SimulationSettings(
        folder, options.data, non_idealities(options), options.cell_bits, options.coding, options.dac_bits, options.repeats,
        options.images, options.layer_images, tuple(options.digital), options.seed, options.device, options.out, options.resume,
    )  # fmt: skip
    found = simulate_run(settings, Steps())
    if options.json:
        print(json.dumps(found.to_json(), indent=2))
        return 0
    print(_summary(found))
    if found.layers:
        print(_table(found))
    if options.out is not None:
        print(f"saved: {options.out}")
    return 0


def _summary(found: Simulation) -> str:
    spread = "" if found.deviation is None else f" +- {found.deviation:.2%}"
    chips = len(found.accuracies)
    lines = [
        f"array: {found.array}",
        f"quantised network: {found.ideal:.2%} of {found.images:,} test images",
        f"on its arrays:     {found.mean:.2%}{spread} ({_chips(chips, found.chosen.random)})",
    ]
    for name, number in found.saturated.items():
        lines.append(f"{name}: {number} weights are too low for the cells, which hold the next higher one")
    if found.digital:
        lines.append(f"left digital: {', '.join(found.digital)}")
    return "\n".join(lines)


def _chips(number: int, random: bool) -> str:
    if not random:
        return "every chip is the same"
    return "1 chip" if number == 1 else f"{number} chips"


def _table(found: Simulation) -> str:
    from rankfold.records.text_table import format_table

    ordered = sorted(found.layers, key=lambda layer: layer.blame, reverse=True)
    rows = [_row(layer, found) for layer in ordered]
    heads = [
        "layer, the worst alone first",
        "error alone",
        "accuracy alone",
        "SNR",
        "own SNR",
        "clipped",
        "activations",
    ]
    about = (
        f"\nLayers, on {found.layer_images:,} images (quantised network: {found.layer_ideal:.2%}). Alone: if only this\n"
        "layer fell short (relative error of the logits, accuracy). SNR: of its output against the ideal run;\n"
        "own SNR: for the inputs that it really gets.\n"
    )
    return about + format_table(heads, rows)


def _row(layer: LayerErrors, found: Simulation) -> list[str]:
    return [
        layer.name, f"{layer.blame:.3f}", f"{layer.alone:.2%}", _decibels(layer.snr), _decibels(layer.own_snr),
        "-" if layer.clipped is None else f"{layer.clipped:.2%}", f"{layer.activations:,}",
    ]  # fmt: skip


def _decibels(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f} dB"
