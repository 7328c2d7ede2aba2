"""`rankfold reproduce`: a declared grid of compressions, trained once, mapped for every array, compared."""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path

from rankfold.cli.arguments.options import checked, prepare_process
from rankfold.errors import InputError

FAILED, INTERRUPTED = 1, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("grid", metavar="NAME", help="a grid of the package, such as smoke or resnet20-cifar10, or a .yaml file")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results (default: reproduce-NAME)")
    parser.add_argument("--data", metavar="DATA", help="where the grid's data are (default: as the grid says)")
    parser.add_argument(
        "--budget", type=checked(duration), metavar="TIME",
        help="begin no more cells after this long, such as 90m or 1h30m; 0 only measures what is there; the same command goes on",
    )  # fmt: skip
    parser.add_argument("--epochs", type=int, help="of each fine-tuning (default: as the grid says)")
    parser.add_argument("--seeds", type=int, metavar="N", help="only the first N seeds of the grid")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default auto)")
    parser.add_argument("--threads", type=int, help="processor threads of a cell (default: all; with --ray 1)")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="run cells as Ray tasks: `auto`, host:port or ray://host:port of a cluster, or `local`"
    )
    parser.add_argument("--gpus", type=float, default=0, metavar="N", help="GPUs of each Ray task (default 0)")
    parser.set_defaults(run=run)


def duration(text: str) -> float:
    """Read `1h30m`, `90m`, `45s` or `0` as seconds.

    Raises:
        InputError: anything else.
    """
    found = re.fullmatch(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s?)?", text.strip().lower())
    if not text.strip() or found is None:
        raise InputError(f"time (={text}) must be hours, minutes and seconds such as 2h, 1h30m or 45s, or 0")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 3600.0 * hours + 60.0 * minutes + seconds


def run(options: argparse.Namespace) -> int:
    """Run the grid, write its tables and figure; 1 where a cell failed."""
    from rankfold.cli.words.progress import Bars
    from rankfold.reproduce.cluster import RayRunner
    from rankfold.reproduce.grid import load_grid
    from rankfold.reproduce.run import reproduce
    from rankfold.reproduce.write import write_results

    grid = load_grid(options.grid)
    if options.data is not None:
        grid = replace(grid, data=options.data)
    if options.epochs is not None:
        grid = replace(grid, recipe=replace(grid.recipe, epochs=options.epochs))
    if options.seeds is not None:
        seeds = list(dict.fromkeys(cell.seed for cell in grid.cells))
        if not 1 <= options.seeds <= len(seeds):
            raise InputError(f"seeds (={options.seeds}) must lie between 1 and the {len(seeds)} of grid {grid.name}")
        grid = replace(grid, cells=tuple(cell for cell in grid.cells if cell.seed in seeds[: options.seeds]))
    if options.gpus and options.ray is None:
        raise InputError(f"gpus (={options.gpus:g}) belong to the tasks of --ray; on one machine give --device cuda")
    runner = None if options.ray is None else RayRunner(options.ray, options.threads or 1, options.gpus)
    prepare_process(options.threads)
    if runner is not None:
        runner.connect()
    out = options.out or Path(f"reproduce-{grid.name}")
    try:
        outcomes = reproduce(grid, out.resolve(), Bars(), options.budget, options.device, runner)
    except KeyboardInterrupt:
        print("\nrankfold: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return INTERRUPTED
    written = write_results(grid, out, outcomes)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    left = sum(not outcome.done and outcome.error is None for outcome in outcomes)
    print(f"{sum(outcome.done for outcome in outcomes)} of {len(outcomes)} cells are done, {len(failed)} failed, {left} are left")
    for outcome in failed:
        print(f"failed: {outcome.cell.name}: {outcome.error}")
    for path in written:
        print(path)
    return FAILED if failed else 0
