"""`rankfold plan --chip`: plans whose budgets hold on a described chip, with the copies of each layer."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.cli.arguments.arrays import chosen_bits, refuse_noise
from rankfold.cli.arguments.chips import named_chip, naming_columns
from rankfold.cli.arguments.networks import find_network
from rankfold.cli.arguments.plans import plan_file
from rankfold.cli.arguments.values import refuse_given
from rankfold.cli.commands.plan_mappings import refuse_data
from rankfold.errors import InputError
from rankfold.machine import ChipSpec, chip_names
from rankfold.machine.hardware import OF_HARDWARE
from rankfold.mapping import CELLS
from rankfold.planning.exact.budget import Budget
from rankfold.planning.exact.quantities import INTERVAL

if TYPE_CHECKING:
    from rankfold.planning import PlanningProblem
    from rankfold.planning.forecast.forecaster import Forecast
    from rankfold.planning.on_chip.plan import ChipPlanning
    from rankfold.progress import Progress

# What describes other arrays than the chip's, or looks for something else than one plan.
NOT_ON_A_CHIP = (
    "array",
    "hardware",
    *OF_HARDWARE,
    *CELLS,
    "max_arrays",
    "pareto",
    "front",
    "search",
    "allocation",
    "uniform",
)


def add_chip(parser: argparse.ArgumentParser) -> None:
    """Add `--chip`."""
    parser.add_argument(
        "--chip",
        metavar="NAME",
        help="plan for this chip, with mappings and copies of each layer; budgets of interval, latency and "
        f"energy then hold on it as `rankfold chip` counts them: {', '.join(chip_names())}, or a .yaml file",
    )


def given_chip(options: argparse.Namespace) -> ChipSpec | None:
    """The chip that plans are for; its arrays become those of the command.

    Raises:
        InputError: there is no such chip, or something else is asked for that does not go with it.
    """
    if options.chip is None:
        return None
    refuse_given(options, NOT_ON_A_CHIP, "{flag} does not go with --chip; omit one of both")
    if options.max_drop is not None and options.after_epochs is None:
        raise InputError(
            "--max-drop measures plan after plan, which --chip does not; limit the predicted loss instead "
            "(--max-loss), or the accuracy after training (--after-epochs)"
        )
    refuse_noise(options, "--chip counts costs alone; omit the noise of arrays")
    chip = named_chip(options.chip)
    options.hardware, options.hardware_from = chip.hardware, options.chip
    return chip


def goal_on_chip(options: argparse.Namespace) -> str | None:
    """What shall be small on a chip, as it was asked for.

    Raises:
        InputError: there is no such quantity.
    """
    from rankfold.chip.best import ENERGY_DELAY
    from rankfold.planning.exact import LOSS
    from rankfold.planning.exact.budget import quantity_named

    asked = options.objective
    if asked in (None, LOSS, ENERGY_DELAY):
        return asked
    return quantity_named(asked, "objective")


def summed_objective(options: argparse.Namespace) -> str | None:
    """What layers are told apart by: the energy, where energy times latency shall be small on a chip."""
    from rankfold.chip.best import ENERGY_DELAY
    from rankfold.planning.exact import ENERGY

    if options.chip is not None and options.objective == ENERGY_DELAY:
        return ENERGY
    return options.objective


def of_the_chip(budgets: tuple[Budget, ...]) -> tuple[tuple[Budget, ...], tuple[Budget, ...]]:
    """Budgets that hold on a chip, and those of what layers add up to."""
    from rankfold.chip.best import FIGURES

    own = tuple(budget for budget in budgets if budget.quantity in FIGURES)
    return own, tuple(budget for budget in budgets if budget not in own)


def run_mappings_on_chip(options: argparse.Namespace, chip: ChipSpec, budgets: tuple[Budget, ...]) -> int:
    """Write the plan of mappings and copies alone, without data."""
    refuse_data(options)
    out = plan_file(options)
    network = find_network(options.model, options.input)

    # Here, as they import torch.
    from rankfold.cli.words.progress import Bars
    from rankfold.cli.words.quiet import natives_silenced
    from rankfold.planning.on_chip.plan import mapping_plan_on_chip

    with natives_silenced(), naming_columns(options.chip):
        found = mapping_plan_on_chip(
            network,
            chip,
            *budgets,
            objective=goal_on_chip(options) or INTERVAL,
            bits=chosen_bits(options, options.bits),
            progress=Bars(),
        )
    tell(options, found, out)
    return 0


def solved_on_chip(
    options: argparse.Namespace,
    problem: PlanningProblem,
    chip: ChipSpec,
    budgets: tuple[Budget, ...],
    progress: Progress,
) -> ChipPlanning:
    """The plan of a problem within budgets that hold on the chip."""
    from rankfold.cli.words.quiet import natives_silenced
    from rankfold.planning.on_chip.plan import solve_on_chip

    # The solver prints to standard output at times, which belongs to the plan.
    with natives_silenced():
        return solve_on_chip(problem, chip, *budgets, objective=goal_on_chip(options), progress=progress)


def tell(
    options: argparse.Namespace, found: ChipPlanning, out: Path, foreseen: Forecast | str | None = None
) -> None:
    """Write the plan, and print what it is, and what training is expected to leave where that was asked."""
    from rankfold.cli.words.chip_plan import (
        chip_planning_in_words,
        chip_planning_table,
        chip_planning_to_json,
    )
    from rankfold.cli.words.forecast import forecast_in_words, forecast_to_json

    found.planning.plan.save(out)
    if options.json:
        content = chip_planning_to_json(found)
        if foreseen is not None:
            content["after_training"] = forecast_to_json(foreseen)
        print(json.dumps({**content, "files": [str(out)]}, indent=2))
        return
    print(chip_planning_table(found))
    print(chip_planning_in_words(found))
    if foreseen is not None:
        print(forecast_in_words(foreseen))
    print(f"plan: {out}")
