"""`rankfold plan --search nsga2`: plans measured on arrays as they are described, where losses do not add up."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from rankfold.cli.arguments.arrays import add_arrays, non_idealities
from rankfold.cli.words.quiet import natives_silenced
from rankfold.errors import InputError

if TYPE_CHECKING:
    from rankfold.planning.accuracy import MeasureSettings
    from rankfold.planning.problem import PlanningProblem
    from rankfold.planning.search.outcome import MeasuredPlan, SearchSettings
    from rankfold.planning.search.run import PlanSearch

NSGA2 = "nsga2"
TRIALS, CHIPS, IMAGES = 200, 2, 1000


def add_search(parser: argparse.ArgumentParser) -> None:
    """Add the options of the search, and those of the arrays that it measures on."""
    group = parser.add_argument_group(
        "search", "instead of the exact choice, which it begins with; needs rankfold[search]"
    )
    group.add_argument(
        "--search", choices=[NSGA2],
        help="measure plans before fine-tuning, on the arrays below: for what does not add up over layers, such as noise",
    )  # fmt: skip
    group.add_argument(
        "--trials", type=int, metavar="N", help=f"plans in all, of all processes (default {TRIALS})"
    )
    group.add_argument(
        "--study",
        type=Path,
        metavar="FILE",
        help="share the search with other processes, and go on with it later; a new file, or the study of the same search",
    )
    group.add_argument(
        "--chips", type=int, metavar="N", help=f"chips that each plan is measured on (default {CHIPS})"
    )
    group.add_argument(
        "--search-images", type=int, metavar="N", help=f"training images to measure on (default {IMAGES})"
    )
    add_arrays(parser)


@dataclass(frozen=True)
class SearchOptions:
    """What `--search` and its options ask for: how to search, and how to measure."""

    search: SearchSettings
    measure: MeasureSettings


def search_options(options: argparse.Namespace) -> SearchOptions | None:
    """What is asked for, checked before any work; None: the exact choice.

    Raises:
        InputError: a value is wrong, or an option goes with `--search` alone, or not with it.
        MissingDependencyError: optuna is not installed.
    """
    noise = non_idealities(options)
    if options.search is None:
        for name in ("trials", "study", "chips", "search_images"):
            if getattr(options, name) is not None:
                raise InputError(
                    f"--{name.replace('_', '-')} goes with --search {NSGA2}; add that, or leave it away"
                )
        # The resolution of converters is that of the energy's too.
        if not replace(noise, adc_bits=None).ideal:
            raise InputError(
                f"the noise of arrays goes with --search {NSGA2}; the exact planner does not see it"
            )
        return None
    from rankfold.planning.accuracy import MeasureSettings
    from rankfold.planning.search.outcome import SearchSettings
    from rankfold.planning.search.study import check_optuna, check_study

    check_optuna()
    for name in ("max_arrays", "max_energy"):
        if getattr(options, name) is not None:
            raise InputError(f"a search trades accuracy for cycles; leave --{name.replace('_', '-')} away")
    if options.study is not None:
        check_study(options.study)
    if options.bits is None and not noise.ideal:
        raise InputError("arrays compute with integers; give --bits, or leave their noise away")
    return SearchOptions(
        SearchSettings(_or(options.trials, TRIALS), options.study, options.seed),
        MeasureSettings(_or(options.search_images, IMAGES), _or(options.chips, CHIPS), noise, options.seed),
    )


def run_search(
    problem: PlanningProblem, chosen: SearchOptions, options: argparse.Namespace, out: Path | None
) -> int:
    """Search, print what was measured, and write the chosen plan and the front."""
    from rankfold.planning.search.run import chosen_plan, search_problem, write_search

    measure = replace(chosen.measure, calibrated=problem.accuracy.settings.calibrated)
    with natives_silenced():
        found = search_problem(problem, chosen.search, measure, SearchBar())
    files: list[Path] = []
    plan = chosen_plan(problem, found)
    if plan is not None and out is not None:
        plan.save(out)
        files.append(out)
    if options.pareto is not None:
        files += write_search(options.pareto, problem, found)[:1]
    if options.json:
        print(json.dumps(_to_json(found, None if plan is None else plan.to_json(), files), indent=2))
        return 0
    print(_table(found))
    print(
        f"{found.result.measured:,} plans measured in {found.result.trials:,} trials; dense: {found.dense:.2%}"
    )
    if found.chosen is not None:
        print(
            f"chosen: {found.chosen.cycles:,} cycles, {found.chosen.accuracy:.2%} before fine-tuning, on held-out training images"
        )
    print("\n".join(f"{'plan' if file == out else 'front'}: {file}" for file in files))
    return 0


class SearchBar:
    """One bar over all trials on standard error, with the last plan that was measured."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def begin(self, trials: int) -> None:
        """Draw the bar."""
        self._bar = tqdm(
            total=trials, desc="search", unit=" plans", leave=False, mininterval=0.5, disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )  # fmt: skip

    def measured(self, done: int, plan: MeasuredPlan) -> None:
        """Move the bar; other processes may have moved on too."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"{plan.cycles:,} cycles {plan.accuracy:.2%}", refresh=False)
            self._bar.update(done - self._bar.n)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _table(found: PlanSearch) -> str:
    from rankfold.records.text_table import format_table

    starts = found.result.starts
    rows = [
        [f"{plan.cycles:,}", f"{plan.accuracy:.2%}", "exact planner" if plan in starts else "search"]
        for plan in found.result.front
    ]
    return format_table(["cycles", "accuracy before fine-tuning", "found by"], rows)


def _to_json(found: PlanSearch, plan: dict[str, Any] | None, files: list[Path]) -> dict[str, Any]:
    """The stable interface of `--search --json`."""
    starts = found.result.starts
    return {
        "plan": plan,
        "measured": {
            "dense": found.dense,
            "chosen": None
            if found.chosen is None
            else {"cycles": found.chosen.cycles, "accuracy": found.chosen.accuracy},
            "front": [
                {"cycles": one.cycles, "accuracy": one.accuracy, "exact_planner": one in starts}
                for one in found.result.front
            ],
            "trials": found.result.trials,
            "plans": found.result.measured,
        },
        "files": [str(file) for file in files],
    }
