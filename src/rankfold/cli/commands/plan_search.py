"""`rankfold plan --search nsga2`: plans measured on arrays as they are described, where losses do not add
up.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.cli.arguments.arrays import refuse_noise
from rankfold.cli.arguments.budgets import OF_OTHERS
from rankfold.cli.arguments.values import refuse_given
from rankfold.errors import InputError

if TYPE_CHECKING:
    from rankfold.machine import Hardware, NonIdealities
    from rankfold.planning import PlanningProblem
    from rankfold.planning.accuracy import MeasureSettings
    from rankfold.planning.search.settings import SearchSettings

NSGA2 = "nsga2"
TRIALS, CHIPS, IMAGES = 200, 2, 1000


def add_search(parser: argparse.ArgumentParser) -> None:
    """Add the options of the search."""
    group = parser.add_argument_group(
        "search", "instead of the exact choice, which it begins with; needs rankfold[search]"
    )
    group.add_argument(
        "--search",
        choices=[NSGA2],
        help="measure plans before fine-tuning, on the arrays below: for what does not add up over layers, "
        "such as noise",
    )
    group.add_argument(
        "--trials", type=int, metavar="N", help=f"plans in all, of all processes (default {TRIALS})"
    )
    group.add_argument(
        "--study",
        type=Path,
        metavar="FILE",
        help="share the search with other processes, and go on with it later; a new file, or the study of "
        "the same search",
    )
    group.add_argument(
        "--chips", type=int, metavar="N", help=f"chips that each plan is measured on (default {CHIPS})"
    )
    group.add_argument(
        "--search-images", type=int, metavar="N", help=f"training images to measure on (default {IMAGES})"
    )


@dataclass(frozen=True)
class SearchOptions:
    """What `--search` and its options ask for: how to search, and how to measure."""

    search: SearchSettings
    measure: MeasureSettings


def search_options(options: argparse.Namespace, noise: NonIdealities) -> SearchOptions | None:
    """What is asked for, checked before any work; None: the exact choice.

    Args:
        options: as parsed.
        noise: of the arrays that plans are measured on.

    Raises:
        InputError: a value is wrong, or an option goes with `--search` alone, or not with it.
        MissingDependencyError: optuna is not installed.
    """
    if options.search is None:
        refuse_given(
            options,
            ("trials", "study", "chips", "search_images"),
            f"{{flag}} goes with --search {NSGA2}; add that, or omit it",
        )
        # Refused and not ignored; the resolution of converters is that of the energy's too.
        refuse_noise(
            options, f"the noise of arrays goes with --search {NSGA2}; the exact planner does not see it"
        )
        return None
    from rankfold.planning.accuracy import MeasureSettings
    from rankfold.planning.search.backend import check_optuna
    from rankfold.planning.search.journal_check import check_study
    from rankfold.planning.search.settings import SearchSettings

    check_optuna()
    # The search has two goals; a limit on anything else is for the exact planner.
    refuse_given(
        options,
        (*OF_OTHERS, "objective", "max_loss", "front", "layer_bits", "count_rounding"),
        "a search trades accuracy for cycles; omit {flag}",
    )
    if options.study is not None:
        check_study(options.study)
    if options.bits is None and not noise.ideal:
        raise InputError("arrays compute with integers; give --bits, or omit their noise")
    return SearchOptions(
        SearchSettings(_or(options.trials, TRIALS), options.study, options.seed),
        MeasureSettings(_or(options.search_images, IMAGES), _or(options.chips, CHIPS), noise, options.seed),
    )


def run_search(
    problem: PlanningProblem,
    chosen: SearchOptions,
    options: argparse.Namespace,
    hardware: Hardware,
    out: Path | None,
) -> int:
    """Search, print what was measured, and write the chosen plan and the front."""
    from rankfold.cli.commands.plan import tell_files
    from rankfold.cli.words.planning import search_table, search_to_json
    from rankfold.cli.words.progress import Bars
    from rankfold.cli.words.quiet import natives_silenced
    from rankfold.planning.search.problem_search import chosen_plan, search_problem
    from rankfold.planning.search.write import write_search
    from rankfold.training.metric import in_words

    measure = replace(chosen.measure, calibrated=problem.accuracy.settings.calibrated)
    # It begins with the exact planner, whose solver prints at times.
    with natives_silenced():
        search = search_problem(problem, chosen.search, measure, progress=Bars())
    files: list[Path] = []
    plan = chosen_plan(problem, search)
    # Without a budget none is chosen, and the front is all there is.
    if plan is not None and out is not None:
        plan.save(out)
        files.append(out)
    if options.pareto is not None:
        files += write_search(options.pareto, problem, search, hardware)[:1]
    if options.json:
        content = None
        if plan is not None:
            content = plan.to_json()
        print(json.dumps(search_to_json(search, content, files), indent=2))
        return 0
    print(search_table(search))
    result = search.result
    dense = in_words(search.dense, search.metric)
    print(f"{result.measured:,} plans measured in {result.trials:,} trials; dense: {dense}")
    if search.chosen is not None:
        measured = in_words(search.chosen.accuracy, search.metric)
        print(
            f"chosen: {search.chosen.cycles:,} cycles, {measured} before fine-tuning, on held-out training "
            "images"
        )
    tell_files(files, out)
    return 0


def _or(value: int | None, default: int) -> int:
    if value is None:
        return default
    return value
