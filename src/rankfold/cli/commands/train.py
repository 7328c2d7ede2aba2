"""`rankfold train`: a dense float baseline from fresh weights."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rankfold import run_files
from rankfold.cli.arguments.arrays import add_array, chosen_hardware, kept_with_plan
from rankfold.cli.arguments.mappings import add_mapping, named_mapping
from rankfold.cli.arguments.process import command_line, prepare_process
from rankfold.cli.arguments.processes import joined
from rankfold.cli.arguments.technology import add_technology
from rankfold.cli.arguments.training import add_training, recipe, training_data

if TYPE_CHECKING:
    from rankfold.machine import Hardware
    from rankfold.training.processes import Processes
    from rankfold.training.recipe import Recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("model", metavar="MODEL", help="a zoo network or package.module:factory")
    add_array(parser)
    add_mapping(parser)
    add_technology(parser)
    add_training(parser, epochs=60, rate=0.2)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train a network and say where the results are."""
    from rankfold.cli.words.report import show_report

    prepare_process(options.threads)
    # Before the data, which may take long to read.
    training = recipe(options)
    hardware = chosen_hardware(options)
    with joined(options.device) as (processes, device):
        _train(options, training, hardware, processes, device)
        if processes.is_first:
            show_report({None: options.out}, options.out / run_files.REPORT)
    return 0


def _train(
    options: argparse.Namespace, training: Recipe, hardware: Hardware, processes: Processes, device: str
) -> None:
    """Load what the options name, and train it."""
    from rankfold.cli.words.progress import Bars
    from rankfold.models.load import load_model
    from rankfold.runs.state import RunNotes
    from rankfold.runs.train import train_network

    data = training_data(options, processes)
    data.require_labels("training")
    train_network(
        load_model(options.model, len(data.classes), data.input_size[0], options.seed, image=data.input_size),
        data,
        training,
        out=options.out,
        name=options.model,
        array=kept_with_plan(options, hardware),
        hardware=hardware,
        mapping=named_mapping(options.mapping),
        notes=RunNotes(command_line(options), options.image_size),
        device=device,
        resume=options.resume,
        progress=Bars(),
        processes=processes,
        captured=options.captured,
    )
