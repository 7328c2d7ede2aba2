"""`rankfold explore`: many chips for networks, and the best trades among them."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankfold.cli.arguments.models import add_checkpoint, add_classes, trained_model
from rankfold.cli.arguments.networks import MODEL_HELP, add_input, find_network
from rankfold.cli.arguments.process import add_device, add_seed, prepare_process
from rankfold.cli.arguments.training import (
    UNLABELLED_HELP,
    add_calibration_images,
    add_image_size,
    decoded_data,
)
from rankfold.cli.arguments.values import refuse_given
from rankfold.errors import InputError
from rankfold.explore import LocalPool, Search, explore, load_space
from rankfold.explore.front import OBJECTIVES, QUANTITIES, chosen_objectives
from rankfold.explore.runners import Runner, ThisProcess
from rankfold.explore.search import SAMPLERS

if TYPE_CHECKING:
    from rankfold.explore.trained import TrainedNetworks
    from rankfold.workload import Network

CORES = os.cpu_count() or 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("networks", nargs="+", metavar="NETWORK", help=MODEL_HELP)
    parser.add_argument(
        "--space", required=True, type=Path, metavar="FILE", help="what varies: a .yaml file, see the manual"
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder for the points, tables and page; the same command goes on with what it holds",
    )
    parser.add_argument(
        "--front",
        metavar="NAME,...",
        default=",".join(OBJECTIVES),
        help=f"what the front trades, some of {', '.join(QUANTITIES)} (default {','.join(OBJECTIVES)})",
    )
    parser.add_argument(
        "--trials",
        type=int,
        metavar="N",
        help="let a sampler of Optuna choose so many points for each network, instead of trying all",
    )
    parser.add_argument("--sampler", choices=SAMPLERS, help="which one (default nsga2)")
    _add_where(parser)
    _add_data(parser)
    add_seed(parser)
    add_device(parser)
    parser.add_argument("--json", action="store_true", help="print the front as JSON")
    parser.set_defaults(run=run, outputs=None, interrupted="the same command goes on where it stopped")


def _add_where(parser: argparse.ArgumentParser) -> None:
    """Add where points are evaluated."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", type=int, metavar="N", help=f"processes on this machine (default {CORES}, its cores)"
    )
    where.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="evaluate points as Ray tasks: `auto`, host:port or ray://host:port of a cluster, or `local`",
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    """Add the data, and what they are looked at for."""
    parser.add_argument(
        "--data", metavar="DATA", help=f"to predict losses, plan under budgets and measure: {UNLABELLED_HELP}"
    )
    parser.add_argument(
        "--measure",
        type=int,
        default=0,
        metavar="N",
        help="measure the accuracy of the points of the front on their arrays, before any training, on N "
        "training images that nothing was calibrated on",
    )
    add_calibration_images(parser, "training images to calibrate on (default as rankfold plan)")
    add_input(parser)
    add_checkpoint(parser)
    add_classes(parser)
    add_image_size(parser)


def run(options: argparse.Namespace) -> int:
    """Explore, write what was found, and print the front."""
    from rankfold.cli.words.exploration import exploration_in_words, exploration_to_json
    from rankfold.cli.words.progress import Bars
    from rankfold.report.exploration.write import check_targets, write_exploration

    objectives = chosen_objectives([name.strip() for name in options.front.split(",")])
    search = _search(options)
    space = load_space(options.space)
    # Before anything is computed: files that are none of ours are never written over.
    check_targets(options.out)
    runner = _runner(options)
    networks, trained = _networks(options)
    progress = Bars()
    for warning in space.warnings:
        progress.note(f"warning: {warning}")
    found = explore(
        networks,
        space,
        options.out,
        objectives=objectives,
        search=search,
        trained=trained,
        measure=options.measure,
        runner=runner,
        progress=progress,
    )
    files = write_exploration(options.out, found)
    if options.json:
        print(json.dumps(exploration_to_json(found), indent=1))
        return 0
    print(exploration_in_words(found))
    for file in files:
        print(f"written: {file}")
    return 0


def _search(options: argparse.Namespace) -> Search | None:
    if options.trials is None:
        if options.sampler is not None:
            raise InputError("--sampler needs --trials N, the points that it may choose")
        return None
    return Search(options.trials, options.sampler or SAMPLERS[0], options.seed)


def _runner(options: argparse.Namespace) -> Runner:
    if options.ray is not None:
        from rankfold.explore.cluster import RayPool

        pool = RayPool(options.ray)
        # Before data are read: a cluster that is not there is known at once.
        pool.connect()
        return pool
    workers = CORES if options.workers is None else options.workers
    if workers == 1:
        return ThisProcess()
    return LocalPool(workers)


def _networks(options: argparse.Namespace) -> tuple[list[Network], TrainedNetworks | None]:
    """The networks, with their weights where there are data."""
    if options.data is None:
        of_trained = ["checkpoint", "classes", "calibration_images", "image_size", "normalise", "threads"]
        if options.device != "auto":
            of_trained.append("device")
        # 0, which measures none, is what it is where it is not given.
        if options.measure:
            of_trained.append("measure")
        refuse_given(options, of_trained, "{flag} is of trained networks; give --data, too")
        return [find_network(name, options.input) for name in options.networks], None
    refuse_given(options, ["input"], "{flag} is for networks without data, whose images have a size; omit it")
    if len(options.networks) > 1:
        refuse_given(options, ["checkpoint"], "{flag} is of one network; explore the networks one by one")
    from rankfold.explore.trained import TrainedNetworks
    from rankfold.runs.state import shapes_of
    from rankfold.training.device import choose_device

    prepare_process(options.threads)
    device = choose_device(options.device)
    data: Any = decoded_data(options)
    if options.measure:
        data.require_labels("measuring accuracy", "omit --measure")
    models, networks = [], []
    for name in options.networks:
        named = argparse.Namespace(**{**vars(options), "model": name})
        models.append(trained_model(named, data, device))
        networks.append(shapes_of(models[-1], data, name))
    return networks, TrainedNetworks(
        models, networks, data, images=options.calibration_images, seed=options.seed
    )
