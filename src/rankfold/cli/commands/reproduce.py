"""`rankfold reproduce`: a declared grid of compressions, trained once, mapped for every array, compared."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.cli.arguments.old_names import also_called
from rankfold.cli.arguments.process import command_line, prepare_process
from rankfold.cli.arguments.values import checked, flag, given, refuse_given, time_limit
from rankfold.cost.energy import completed
from rankfold.errors import InputError, UnwantedArgumentError
from rankfold.machine import load_hardware

if TYPE_CHECKING:
    from rankfold.reproduce.cell import Outcome
    from rankfold.reproduce.cluster import RayRunner
    from rankfold.reproduce.grid import Grid
    from rankfold.reproduce.together import TogetherRunner

FAILED, INTERRUPTED = 1, 130
# What only cells that are run would follow.
OF_RUNS = ("time_limit", "ray", "epochs", "seeds", "together")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "grid",
        metavar="NAME",
        help="a grid of the package, such as smoke or resnet20-cifar10, or a .yaml file",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the results (default: reproduce-NAME)"
    )
    _add_work(parser)
    _add_places(parser)
    parser.set_defaults(run=run)


def _add_work(parser: argparse.ArgumentParser) -> None:
    """What is done, and for how long."""
    parser.add_argument(
        "--data", metavar="DATA", help="where the grid's data are (default: as the grid says)"
    )
    limit = parser.add_argument(
        "--time-limit",
        type=checked(time_limit),
        metavar="TIME",
        help="begin no more cells after this long, such as 90m or 1h30m; 0 only measures what is there; "
        "the same command goes on",
    )
    also_called(parser, limit, "--budget")
    parser.add_argument(
        "--hardware",
        type=checked(load_hardware),
        metavar="NAME",
        help="what energy is counted for, at the array sizes of the grid, and plans for an energy are made "
        "for: a name or .yaml file (default: as the grid says; rankfold hardware lists them)",
    )
    parser.add_argument(
        "--price-again",
        action="store_true",
        help="run nothing: give the rows of cells.csv in --out the energy that they have on the hardware, "
        "where the folders of the runs are not kept",
    )
    parser.add_argument(
        "--redraw",
        action="store_true",
        help="run nothing: write tables, headlines and figure anew from cells.csv in --out",
    )
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="of each fine-tuning (default: as the grid says)"
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="only the first N seeds of the grid")


def _add_places(parser: argparse.ArgumentParser) -> None:
    """Where cells run, and how many at a time."""
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="auto, cpu, cuda, ... (default auto)"
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="processor threads of a cell (default: all; with --ray 1)"
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="run cells as Ray tasks: `auto`, host:port or ray://host:port of a cluster, or `local`",
    )
    parser.add_argument(
        "--gpus", type=float, default=0, metavar="N", help="GPUs of each Ray task (default 0)"
    )
    parser.add_argument(
        "--together",
        type=int,
        metavar="N",
        help="train N cells at a time in this process, on a GPU each by CUDA graphs on a stream of its own",
    )
    parser.add_argument(
        "--fuse",
        action="store_true",
        help="with --together: compile the passes of quantisers, each into one kernel; needs Triton on a GPU",
    )


def run(options: argparse.Namespace) -> int:
    """Run the grid, write its tables and figure; 1 where a cell failed."""
    from rankfold.cli.words.progress import Bars
    from rankfold.reproduce.cluster import RayRunner
    from rankfold.reproduce.grid import load_grid
    from rankfold.reproduce.pricing import price_again
    from rankfold.reproduce.recorded import recorded_outcomes
    from rankfold.reproduce.run import reproduce
    from rankfold.reproduce.write import write_results

    if options.redraw:
        refuse_given(options, ("price_again", "data", "hardware"), "--redraw counts nothing; omit {flag}")
    for name in given(options, ("price_again", "redraw")):
        refuse_given(options, OF_RUNS, f"{flag(name)} runs no cells; omit {{flag}}")
    grid = _with_options(load_grid(options.grid), options)
    runner = _runner(options)
    prepare_process(options.threads)
    if options.fuse:
        _check_compiler(options.device)
    if isinstance(runner, RayRunner):
        # Before the baseline is trained: a cluster that is not there is known at once.
        runner.connect()
    out = options.out or Path(f"reproduce-{grid.name}")
    try:
        if options.redraw:
            outcomes = recorded_outcomes(grid, out)
        elif options.price_again:
            outcomes = price_again(grid, out, Bars())
        else:
            outcomes = reproduce(
                grid,
                out.resolve(),
                Bars(),
                time_limit=options.time_limit,
                device=options.device,
                runner=runner,
                captured=options.together is not None,
            )
    # Caught here, as `main` would speak of `--resume`, which this command does without.
    except KeyboardInterrupt:
        print("\nrankfold: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return INTERRUPTED
    # Also where cells failed or are left: what is known so far is written.
    return _told(outcomes, write_results(grid, out, outcomes))


def _runner(options: argparse.Namespace) -> RayRunner | TogetherRunner | None:
    """Who runs the cells; None: this process, one after another.

    Raises:
        InputError: the options do not go together.
    """
    from rankfold.reproduce.cluster import RayRunner
    from rankfold.reproduce.together import TogetherRunner

    # Without Ray no task asks for GPUs, and the number would be ignored.
    if options.gpus and options.ray is None:
        raise InputError(
            f"gpus (={options.gpus:g}) belong to the tasks of --ray; on one machine give --device cuda"
        )
    if options.together is not None and options.ray is not None:
        raise UnwantedArgumentError(
            "--together trains cells in this process; omit it, or omit --ray", "together", "ray"
        )
    if options.together is not None:
        backend = "inductor" if options.fuse else None
        return TogetherRunner(options.together, backend)
    refuse_given(options, ["fuse"], "{flag} goes with --together; add that, or omit it")
    if options.ray is not None:
        return RayRunner(options.ray, options.threads or 1, options.gpus)
    return None


def _told(outcomes: Sequence[Outcome], written: Sequence[Path]) -> int:
    """Print what became of the cells and where it is written; the exit code."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    done = sum(outcome.done for outcome in outcomes)
    left = sum(not outcome.done and outcome.error is None for outcome in outcomes)
    print(f"{done} of {len(outcomes)} cells are done, {len(failed)} failed, {left} are left")
    for outcome in failed:
        print(f"failed: {outcome.cell.name}: {outcome.error}")
    for path in written:
        print(path)
    if failed:
        return FAILED
    return 0


def _check_compiler(device: str) -> None:
    """Refuse to compile passes of quantisers where nothing compiles them, or they have kernels already."""
    from rankfold.training.device import choose_device

    if choose_device(device).type != "cuda":
        raise UnwantedArgumentError(
            "--fuse compiles for GPUs; omit it on a processor, whose quantisers have kernels of their own",
            "fuse",
        )
    if importlib.util.find_spec("triton") is None:
        raise UnwantedArgumentError(
            "--fuse compiles by Triton, which is not installed; install it, or omit --fuse", "fuse"
        )


def _with_options(grid: Grid, options: argparse.Namespace) -> Grid:
    """The grid with what the options change of it, and the command that was typed for its record."""
    grid = replace(grid, command=command_line(options))
    if options.data is not None:
        grid = replace(grid, data=options.data)
    # Of what is counted alone, but for plans for an energy: those of other hardware are refused.
    if options.hardware is not None:
        grid = replace(grid, hardware=completed(options.hardware))
    # Of fine-tuning alone: the dense network is the same for all.
    if options.epochs is not None:
        grid = replace(grid, recipe=replace(grid.recipe, epochs=options.epochs))
    if options.seeds is None:
        return grid
    # In the order of the grid.
    seeds = list(dict.fromkeys(cell.seed for cell in grid.cells))
    if not 1 <= options.seeds <= len(seeds):
        raise InputError(
            f"seeds (={options.seeds}) must lie between 1 and the {len(seeds)} of grid {grid.name}"
        )
    first = seeds[: options.seeds]
    return replace(grid, cells=tuple(cell for cell in grid.cells if cell.seed in first))
