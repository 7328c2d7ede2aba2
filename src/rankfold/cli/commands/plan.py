"""`rankfold plan`: what every layer becomes, chosen exactly under budgets."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankfold.cli.arguments.arrays import (
    add_array,
    add_bits,
    add_non_idealities,
    check_details,
    chosen_hardware,
)
from rankfold.cli.arguments.budgets import add_budgets, add_kinds, given_budgets
from rankfold.cli.arguments.chips import naming_columns
from rankfold.cli.arguments.metrics import add_metric, add_outputs
from rankfold.cli.arguments.models import add_checkpoint, add_classes
from rankfold.cli.arguments.networks import MODEL_HELP
from rankfold.cli.arguments.plans import plan_file
from rankfold.cli.arguments.process import add_device, add_seed
from rankfold.cli.arguments.technology import add_technology
from rankfold.cli.arguments.training import UNLABELLED_HELP, add_calibration_images, add_image_size
from rankfold.cli.arguments.values import checked
from rankfold.cli.commands.plan_alds import ALDS, add_allocation, run_alds
from rankfold.cli.commands.plan_chip import (
    add_chip,
    given_chip,
    of_the_chip,
    run_mappings_on_chip,
    solved_on_chip,
    tell,
)
from rankfold.cli.commands.plan_forecast import add_forecast, forecast, learnt_outcomes
from rankfold.cli.commands.plan_mappings import add_mappings_only, run_mappings
from rankfold.cli.commands.plan_problem import problem_of, traded_by_front
from rankfold.cli.commands.plan_search import add_search, run_search, search_options
from rankfold.cli.commands.plan_uniform import add_uniform, refuse_setting, run_uniform
from rankfold.errors import InputError
from rankfold.planning.exact.budget import Budget
from rankfold.planning.exact.quantities import spoken
from rankfold.planning.exact.widths import BitChoices

if TYPE_CHECKING:
    from rankfold.machine import ChipSpec, Hardware
    from rankfold.planning import Planning, PlanningProblem
    from rankfold.planning.forecast.forecaster import Forecast
    from rankfold.progress import Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("model", metavar="MODEL", help=f"{MODEL_HELP}, with trained weights")
    # Asked for below, as `--uniform` does without.
    parser.add_argument("--data", metavar="DATA", help=UNLABELLED_HELP)
    add_array(parser)
    add_chip(parser)
    add_budgets(parser)
    _add_goal(parser)
    add_kinds(parser)
    add_bits(parser, 4, "of weights and activations, 1 to 8, or `float` (default 4)")
    parser.add_argument(
        "--layer-bits",
        type=checked(BitChoices.parse),
        metavar="BITS",
        help="let each convolution have other bits: 2-8, or 2,4,8, or weights/inputs 2-8/4,8; losses then "
        "count what rounding is predicted to cost (default: all have --bits)",
    )
    parser.add_argument(
        "--count-rounding",
        action="store_true",
        help="let losses count what rounding to --bits is predicted to cost, as with --layer-bits; then no "
        "layer is trimmed, and no accuracy after fine-tuning is foreseen",
    )
    add_checkpoint(parser)
    add_classes(parser)
    add_calibration_images(
        parser, "training images to calibrate on (default 512, or 32 where they are larger than 64x64)"
    )
    _add_files(parser)
    add_allocation(parser)
    add_mappings_only(parser)
    add_uniform(parser)
    add_search(parser)
    add_non_idealities(parser)
    add_technology(parser, resolution=False)
    add_seed(parser)
    add_image_size(parser)
    add_device(parser)
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="find what layers may become as Ray tasks: `auto`, host:port or ray://host:port of a cluster, "
        "or `local`",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(
        run=run, interrupted="the same command begins anew; with --search and --study it goes on"
    )


def _add_files(parser: argparse.ArgumentParser) -> None:
    """The plan and the front that are written."""
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the plan (default plan.json; not with --pareto alone)"
    )
    parser.add_argument(
        "--pareto",
        type=Path,
        metavar="DIR",
        help="write the whole front: front.csv, front.html, and front.svg where it trades one cost",
    )
    parser.add_argument(
        "--front",
        metavar="NAME,...",
        help="what the front trades for predicted loss, one or two of those of --budget (default cycles)",
    )


def _add_goal(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--objective",
        metavar="NAME",
        help="what shall be small: loss, or one of the above (with --chip energy-delay, too) within "
        "--max-loss or --max-drop (default: the loss; cycles where only what may be lost is given)",
    )
    parser.add_argument(
        "--max-loss",
        type=float,
        metavar="NATS",
        help="most predicted loss per image: in nats, or of --outputs values as a share of their variance",
    )
    parser.add_argument(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="most points of accuracy to lose, measured before fine-tuning on training images held out from "
        "calibration; without labels points of agreement with the network as it is; with --metric the most "
        "of it, in its own units",
    )
    add_metric(parser)
    add_outputs(parser)
    add_forecast(parser)


def run(options: argparse.Namespace) -> int:
    """Plan, print why, and write the plan and the front."""
    chip = given_chip(options)
    if options.uniform:
        return run_uniform(options)
    if options.mappings_only and chip is not None:
        return run_mappings_on_chip(options, chip, given_budgets(options))
    if options.mappings_only:
        return run_mappings(options, given_budgets(options))
    refuse_setting(options, but=("linear",))
    if options.data is None:
        raise InputError(
            f"--data is missing: {UNLABELLED_HELP}; or give all layers one setting (--uniform), or choose "
            "mappings alone (--mappings-only)"
        )
    if options.allocation == ALDS:
        return run_alds(options)
    return _run_on_data(options, chip)


def _run_on_data(options: argparse.Namespace, chip: ChipSpec | None) -> int:
    """Plan by predicted losses, or search."""
    # Shares such as 40 % become numbers when the dense network is known.
    budgets = given_budgets(options)
    limited = bool(budgets) or options.max_drop is not None or options.max_loss is not None
    learnt = learnt_outcomes(options, limited)
    # Before any work: it would be lost with a file that cannot be written.
    out = _target(options, limited)
    hardware = chosen_hardware(options)
    check_details(options, hardware)
    searching = search_options(options, hardware.non_idealities)
    from rankfold.cli.words.progress import Bars

    progress = Bars()
    on_chip: tuple[Budget, ...] = ()
    if chip is not None:
        on_chip, budgets = of_the_chip(budgets)
    with naming_columns(options.chip):
        problem, situation = problem_of(options, chip or hardware, budgets, learnt, progress)
    if chip is not None and out is not None:
        found = solved_on_chip(options, problem, chip, on_chip, progress)
        tell(options, found, out, forecast(options, learnt.outcomes, situation, found.planning.plan))
        return 0
    if searching is not None:
        return run_search(problem, searching, options, hardware, out)
    planning, foreseen = None, None
    if limited:
        planning = _solved(problem, progress)
        foreseen = forecast(options, learnt.outcomes, situation, planning.plan)
    files: list[Path] = []
    table = ""
    if options.pareto is not None:
        # Before the plan: a front may be refused, and then nothing is written.
        table, files = _front(options.pareto, problem, planning, hardware, progress)
    if planning is not None and out is not None:
        planning.plan.save(out)
        files.insert(0, out)
    _tell(options, planning, foreseen, table, files, out)
    if not options.json:
        print(f"hardware: {hardware.name}")
    return 0


def _target(options: argparse.Namespace, limited: bool) -> Path | None:
    """The file of the plan; None: there is no budget to make one for.

    Raises:
        InputError: nothing is asked for, or what would be written has no place.
    """
    if not limited and options.pareto is None:
        raise InputError(
            "give a budget (--max-cycles, --max-arrays, --max-energy, --budget, --max-loss, --max-drop), or "
            "--pareto DIR for all of them"
        )
    if not limited and options.out is not None:
        raise InputError("--out is for one plan, which needs a budget such as --max-cycles 40%")
    # Without a budget there is a front, and no plan of it is better than the others.
    out = plan_file(options) if limited else None
    if options.front is not None and options.pareto is None:
        raise InputError("--front says what a front trades; --pareto DIR asks for one")
    if options.pareto is not None and options.pareto.exists() and not options.pareto.is_dir():
        raise InputError(f"{options.pareto} is a file; give a folder for the front")
    return out


def _solved(problem: PlanningProblem, progress: Progress) -> Planning:
    from rankfold.cli.words.quiet import natives_silenced
    from rankfold.planning import solve_problem

    # The solver prints to standard output at times, which belongs to the plan.
    with natives_silenced():
        return solve_problem(problem, progress)


def _front(
    folder: Path,
    problem: PlanningProblem,
    planning: Planning | None,
    hardware: Hardware,
    progress: Progress,
) -> tuple[str, list[Path]]:
    """Write the whole front; returns a table of it, and the files."""
    from rankfold.report.pareto.surface import surface_table, write_surface
    from rankfold.report.pareto.write import front_table, write_front

    network = problem.network.name
    if len(problem.trades) > 1:
        found = problem.surface(progress)
        written = write_surface(
            folder, found, network, problem.array, problem.dense, hardware=hardware, unit=problem.unit
        )
        return surface_table(found), list(written)
    front = problem.front(progress)
    # The plan is marked on the front, where there is one.
    chosen = None
    if planning is not None:
        chosen = planning.solution.chosen
    table = front_table(front, problem.dense)
    files = write_front(
        folder, front, network, problem.array, problem.dense, chosen, hardware=hardware, unit=problem.unit
    )
    return table, list(files)


def _tell(
    options: argparse.Namespace,
    planning: Planning | None,
    foreseen: Forecast | str | None,
    table: str,
    files: list[Path],
    out: Path | None,
) -> None:
    """Print what was planned and where it is."""
    from rankfold.cli.words.forecast import forecast_in_words, forecast_to_json
    from rankfold.cli.words.planning import layer_table, planning_to_json, totals

    if options.json:
        content: dict[str, Any] = {"plan": None, "files": [str(file) for file in files]}
        if planning is not None:
            content["plan"] = planning_to_json(planning)
            content["after_training"] = forecast_to_json(foreseen)
        print(json.dumps(content, indent=2))
        return
    if planning is not None:
        print(layer_table(planning))
        print(totals(planning))
    if foreseen is not None:
        print(forecast_in_words(foreseen))
    if table:
        traded = " and ".join(spoken(quantity) for quantity in traded_by_front(options))
        print(f"all best trades of {traded} for predicted loss, thinned:\n{table}")
    tell_files(files, out)


def tell_files(files: list[Path], out: Path | None) -> None:
    """Print where the plan and the front are."""
    for file in files:
        what = "front"
        if file == out:
            what = "plan"
        print(f"{what}: {file}")
