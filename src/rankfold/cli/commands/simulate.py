"""`rankfold simulate`: a finished run on its arrays."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rankfold.cli.arguments.arrays import add_array, add_chips, add_non_idealities, simulated_hardware
from rankfold.cli.arguments.models import add_factory
from rankfold.cli.arguments.process import add_device, add_seed, prepare_process
from rankfold.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "run_folder",
        metavar="DIR",
        help="folder of a finished, quantised run or of save, or the name of shipped weights",
    )
    add_factory(parser)
    parser.add_argument(
        "--data", required=True, metavar="DATA", help="data set with a training and a test split"
    )
    add_array(parser)
    add_non_idealities(parser)
    parser.add_argument(
        "--digital",
        action="append",
        default=[],
        metavar="LAYER",
        help="leave this layer to digital logic; may be repeated",
    )
    add_chips(parser, "chips, each programmed anew (default 5)")
    parser.add_argument("--images", type=int, metavar="N", help="test images, drawn at random (default all)")
    parser.add_argument(
        "--layer-images",
        type=int,
        default=500,
        metavar="N",
        help="test images for the layers' errors; 0: none (default 500)",
    )
    add_seed(parser)
    add_device(parser)
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
    from rankfold.cli.words.progress import Bars
    from rankfold.cli.words.simulation import layer_table, simulation_summary
    from rankfold.models.pretrained import run_folder
    from rankfold.runs.chips import LoadedRun
    from rankfold.runs.simulate import simulate_run
    from rankfold.runs.simulation import SimulationOptions

    # Without a file there is nothing that could go on.
    if options.resume and options.out is None:
        raise InputError("--resume needs the --out FILE that the stopped simulation was given")
    prepare_process(options.threads)
    # A name of shipped weights stands for the folder that they came in.
    folder = run_folder(options.run_folder)
    # Checked before the run and the data are loaded.
    wanted = SimulationOptions(
        **simulated_hardware(options, [folder]),
        repeats=options.chips,
        images=options.images,
        layer_images=options.layer_images,
        digital=tuple(options.digital),
        seed=options.seed,
    )
    loaded = LoadedRun.load(
        folder,
        options.data,
        options.device,
        factory=options.factory,
        trust_code=options.trust_code,
        progress=Bars(),
    )
    simulation = simulate_run(loaded, wanted, out=options.out, resume=options.resume, progress=Bars())
    if options.json:
        print(json.dumps(simulation.to_json(), indent=2))
        return 0
    print(simulation_summary(simulation))
    if simulation.layers:
        print(layer_table(simulation))
    if options.out is not None:
        print(f"saved: {options.out}")
    return 0
