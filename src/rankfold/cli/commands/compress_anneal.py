"""`rankfold compress --anneal`: plans in steps, each around the network as training has left it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from rankfold.cli.arguments.arrays import chosen_bits, kept_with_plan
from rankfold.cli.arguments.budgets import add_budgets, add_kinds, given_budgets, named_kinds
from rankfold.cli.arguments.process import command_line
from rankfold.cli.arguments.processes import started_together
from rankfold.cli.arguments.training import distillation
from rankfold.cli.arguments.values import checked, flag, given
from rankfold.errors import InputError
from rankfold.lowrank import ROUNDINGS

if TYPE_CHECKING:
    from torch import nn

    from rankfold.machine import Hardware
    from rankfold.planning.exact import Budget
    from rankfold.runs.baseline import DenseWeights
    from rankfold.training.recipe import Recipe
    from rankfold.training.source import TrainingData

# Options that say nothing without `--anneal`.
OWN = ("max_cycles", "max_arrays", "max_energy", "budget", "kinds")


def add_anneal(parser: argparse.ArgumentParser) -> None:
    """Add `--anneal`, and what its plans take."""
    parser.add_argument(
        "--anneal",
        type=checked(annealing_steps),
        metavar="STEPS",
        help="plan, train a little, and plan again around the network as it is, in so many steps under "
        "budgets that shrink to those below: an epoch each, and the rest of --epochs in the last; or the "
        "epochs of each, such as 1,1,2",
    )
    add_budgets(parser)
    add_kinds(parser)
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="training images that plans of --anneal are calibrated on (default 512, or 32 where they are "
        "larger than 64x64), or that --reconstruct looks at (default 512)",
    )


def annealing_steps(text: str) -> int | tuple[int, ...]:
    """Read `4`, a number of steps, or `1,1,2`, the epochs of each.

    Raises:
        InputError: it is neither.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise InputError(f"anneal (={text}) must be a number of steps, or the epochs of each, such as 1,1,2")
    if len(parts) == 1:
        return int(parts[0])
    return tuple(int(part) for part in parts)


def check_annealing(options: argparse.Namespace, said: list[str]) -> None:
    """Refuse what does not go with `--anneal`, or what says nothing without it.

    Args:
        options: as parsed.
        said: flags that the user gave, of what says already what layers become.

    Raises:
        InputError: there is such an option.
    """
    if options.anneal is None:
        for name in given(options, OWN):
            raise InputError(
                f"{flag(name)} is of plans, which compress makes with --anneal alone; add it, or make a plan "
                "first (rankfold plan)"
            )
        return
    if options.plan is not None:
        said = ["--plan", *said]
    for word in said:
        raise InputError(f"--anneal chooses what every layer becomes; omit {word}")
    if options.decomposition is not None or options.rounding != ROUNDINGS[0]:
        raise InputError(
            "--anneal makes weights for the layers' outputs on data, and rounds them to the nearest level; "
            "omit --decomposition and --rounding"
        )
    if options.noise_aware:
        raise InputError(
            "--anneal trains without arrays in the loop; omit --noise-aware, or fine-tune by the last plan "
            "of the finished run (compress --plan DIR/plan.json --noise-aware)"
        )
    if options.metric is not None:
        raise InputError(
            "--anneal measures top-1 accuracy alone; omit --metric, or give it to evaluate afterwards"
        )
    if started_together():
        raise InputError("--anneal plans and trains in one process; omit torchrun")
    if not given_budgets(options):
        raise InputError("--anneal needs budgets that its last plan keeps, such as --max-cycles 40%")


def annealed_recipe(options: argparse.Namespace, recipe: Recipe) -> Recipe:
    """The recipe with the epochs of all steps, where these are given.

    Raises:
        InputError: `--epochs` says another number.
    """
    if not isinstance(options.anneal, tuple):
        return recipe
    epochs = sum(options.anneal)
    if options.epochs not in (None, epochs):
        raise InputError(
            f"the steps of --anneal have {epochs} epochs together, and --epochs says {options.epochs}; "
            "omit it"
        )
    return replace(recipe, epochs=epochs)


def run_annealing(
    options: argparse.Namespace,
    model: nn.Module,
    data: TrainingData,
    *,
    recipe: Recipe,
    baseline: DenseWeights,
    hardware: Hardware,
    bits: int | None,
    device: str,
) -> None:
    """Do the whole run on what the options named.

    Args:
        options: as parsed.
        model: the dense network.
        data: what it is trained on.
        recipe: of all steps together.
        baseline: where its weights come from.
        hardware: what is planned for.
        bits: of weights and inputs, where not each has its own option.
        device: where.
    """
    from rankfold.cli.words.progress import Bars
    from rankfold.cli.words.quiet import natives_silenced
    from rankfold.planning.annealing.anneal import anneal
    from rankfold.runs.state import RunNotes

    budgets: tuple[Budget, ...] = given_budgets(options)
    # The solver prints to standard output at times.
    with natives_silenced():
        anneal(
            model,
            data,
            kept_with_plan(options, hardware),
            *budgets,
            out=options.out,
            steps=options.anneal,
            recipe=annealed_recipe(options, recipe),
            bits=chosen_bits(options, bits),
            kinds=named_kinds(options),
            pointwise=options.pointwise,
            images=options.images,
            name=options.model,
            baseline=baseline,
            distillation=distillation(options),
            hardware=hardware,
            notes=RunNotes(command_line(), options.image_size),
            device=device,
            resume=options.resume,
            progress=Bars(),
            captured=options.captured,
        )
