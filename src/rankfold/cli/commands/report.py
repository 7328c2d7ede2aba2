"""`rankfold report`: runs, plans, chips and simulations on one page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankfold import run_files
from rankfold.errors import InputError

if TYPE_CHECKING:
    from rankfold.report.mixed.page import Thing
    from rankfold.report.mixed.plans import PlannedNetwork
    from rankfold.report.runs import Run

SWEEP = "robustness.csv"  # in the folder of a sweep

SHOWN = (
    "the folder of a finished run, a plan.json, what `rankfold chip --json` printed, a result of `rankfold "
    "simulate`, the folder or table of `rankfold robustness`"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "things",
        nargs="+",
        type=Path,
        metavar="PATH",
        help=f"any of these: {SHOWN}",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="the HTML page; of existing files it replaces only HTML pages",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="also write the chart of accuracy against cycles of the runs, as SVG",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the page and print the comparison of the runs."""
    from rankfold.report import check_page, summary_table, write_report
    from rankfold.report.charts.picture import check_picture, write_picture
    from rankfold.report.mixed.page import write_mixed
    from rankfold.report.run_page.page import comparable
    from rankfold.report.runs import Run

    # Before anything is read: a file that is no page is never written over.
    check_page(options.out)
    _check_distinct(options.things)
    things = [_read(path) for path in options.things]
    runs = [thing for thing in things if isinstance(thing, Run)]
    groups = comparable(runs)
    # Before the page, which would else be written beside a complaint.
    if options.picture is not None:
        check_picture(options.picture)
        if len(groups) != 1:
            raise InputError("--picture shows runs that can be compared; give such runs, or omit it")
    if len(runs) == len(things) and len(groups) == 1:
        write_report(options.out, runs)
    else:
        write_mixed(options.out, things)
    if options.picture is not None:
        write_picture(options.picture, runs)
    for group in groups:
        print(summary_table(group))
    print(f"report: {options.out}")
    return 0


def _check_distinct(things: Sequence[Path]) -> None:
    """Refuse the same thing twice, which would stand beside itself.

    Raises:
        InputError: something is there twice.
    """
    known = set()
    for path in things:
        if path.resolve() in known:
            raise InputError(f"{path} is given twice; give it once")
        known.add(path.resolve())


def _read(path: Path) -> Thing:
    """What a path holds.

    Raises:
        InputError: none of what a report can show.
    """
    from rankfold.report.mixed.simulations import read_sweep

    label = path.resolve().name
    if path.is_dir():
        if not (path / run_files.RESULT).exists() and (path / SWEEP).exists():
            return read_sweep(path / SWEEP, label)
        return _run(path)
    if path.suffix == ".csv":
        return read_sweep(path, path.stem)
    if path.suffix == ".json":
        return _from_json(path)
    if path.is_file():
        raise InputError(f"{path} is nothing that a report shows; give {SHOWN}")
    # Not there: what is missing of a run is the complaint.
    return _run(path)


def _run(folder: Path) -> Run:
    """A finished run, called by the name of its folder."""
    from rankfold.report import load_run

    # Several runs of one method differ by what the user called their folders.
    return load_run(folder, folder.resolve().name)


def _from_json(path: Path) -> Thing:
    """What a JSON file says, by its type or by what it holds."""
    from rankfold.documents import read_json
    from rankfold.report.mixed.chips import chip_result, is_chip_result
    from rankfold.report.mixed.simulations import is_simulation, simulation_result

    content = read_json(path)
    label = _label(path)
    if _is_plan(content):
        return _planned(path, label)
    if is_simulation(content):
        return simulation_result(path, content, label)
    if is_chip_result(content):
        return chip_result(path, content, label)
    raise InputError(
        f"{path} is no plan, no result of rankfold chip --json and none of rankfold simulate; give one of "
        "these, or the folder of a run"
    )


def _is_plan(content: Any) -> bool:
    from rankfold.plan.plan import TYPE

    return isinstance(content, dict) and content.get("_type") == TYPE


def _label(path: Path) -> str:
    """The name of a file without its ending; of plan.json that of its folder."""
    whole = path.resolve()
    if whole.name == run_files.PLAN:
        return whole.parent.name
    return whole.stem


def _planned(path: Path, label: str) -> PlannedNetwork:
    """A plan with what it costs, where its network is known by name, or why that is not counted."""
    from rankfold.cli.arguments.networks import find_network
    from rankfold.plan import Plan
    from rankfold.report.mixed.plans import PlannedNetwork, plan_costs

    plan = Plan.load(path)
    try:
        costs = plan_costs(find_network(plan.model, plan.input), plan)
    except InputError as error:
        return PlannedNetwork(label, plan, None, str(error))
    return PlannedNetwork(label, plan, costs)
