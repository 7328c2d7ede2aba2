"""The planner beside other ways to choose: ResNet-20, or WRN16-4, at equal cycles and at equal energy.

Usage: python benchmarks/plan_baselines.py --data path/to/cifar10 --plans FOLDER [--network wrn16-4]
    [--arrays 64 128] [--cycles 5440 ...] [--within cycles energy] [--choices planner ...] [--images 512]
    [--test 2000] [--threads 1] [--runs RUN ...] [--epochs 4] [--out results/planned/baselines.csv]

For every array and budget of cycles, one plan of each:

  planner             the least predicted loss (curvature), of all that layers may become but skipped or
                      trimmed: at the fewest cycles `rankfold plan` has better plans
  mse                 the same candidates and the same exact choice, by the mean squared error of each layer's
                      outputs instead, as CompressNAS ranks them
  share               likewise, by that error over the power of the layer's outputs
  magnitude           likewise, by the share of the squared weights that is lost
  alds                the allocation of ALDS: groups and ranks of the least largest relative error
  low-rank, support, pairs, patdnn, window, window-low-rank
                      one setting for all layers: of those of the kind that fit the budget, the one of least
                      predicted loss

and once more within the energy that the planner's plan of that many cycles takes. All have 4 bits, the same
weights for a kind (made for the calibration images), and are measured alike: predicted loss, cycles and
energy per image, and accuracy on the first test images before any training, with batch norm measured again on
2,048 training images (`--test 0` leaves that out, which takes most of the time). Rows are written budget by
budget and never measured twice. The plans go to FOLDER, to be trained:

    rankfold compress resnet20 --data path/to/cifar10 --plan FOLDER/NAME.json --epochs 4 --out runs/NAME

Columns of what training leaves are filled from the records in `results` and the runs of `--runs`: the mean
over those of a plan that have `--epochs` and the dense network as teacher, known by what their layers became.
Prints the predicted losses in Markdown.
Nothing but the choice of the training images is drawn (seed 0).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from statistics import fmean

import torch
from measured_rows import Rows, commit
from plan_rulers import BITS, CURVATURE, RULERS, Study
from shipped_network import NETWORKS, Subject, add_options, subject
from trained_plans import of_folder, of_runs

from rankfold import ArraySpec, Plan, evaluate, quantise_, uniform_plan
from rankfold.calibration.samples import MOMENT_IMAGES
from rankfold.cost import network_cycles
from rankfold.cost.energy import network_energy
from rankfold.errors import InputError
from rankfold.nn.masked import masks_of
from rankfold.plan.methods import (
    LowRank,
    Method,
    Pairs,
    PatDNN,
    SharedSupport,
    WindowLowRank,
    Windows,
)
from rankfold.plan.prediction import decisions
from rankfold.planning import alds_plan
from rankfold.planning.exact import CYCLES, ENERGY, Budget
from rankfold.records.csv_table import write_csv
from rankfold.runs.record import device_name

HEADER = (
    "array",
    "budget_of",
    "budget",
    "choice",
    "images",
    "setting",
    "plan",
    "predicted_loss",
    "before",
    "cycles",
    "energy_nj",
    "epochs",
    "runs",
    "accuracy",
    "commit",
    "device",
    "digest",
)
KEYS = 5
TRAINED = ("epochs", "runs", "accuracy")
BUDGETS = {64: (5440, 2944, 9088), 128: (2208, 1472, 4000)}  # of cycles, the most telling ones first
NOTHING = "none fits"
PLANNER, ALDS = "planner", "alds"
NAMES = {PLANNER: CURVATURE, **{ruler: ruler for ruler in RULERS if ruler != CURVATURE}}
# Of each kind chains of settings that keep less and less, so that the first one that fits loses least.
UNIFORM: dict[str, list[dict[str, Method]]] = {
    "window": [{f"k = {tiles}": Windows(row_tiles=tiles) for tiles in range(9, 0, -1)}],
    "pairs": [{f"e = {entries}": Pairs(entries) for entries in range(8, 0, -1)}],
    "support": [{f"e = {entries}": SharedSupport(entries) for entries in range(8, 0, -1)}],
    "low-rank": [
        {f"g = {groups}, r = m/{share}": LowRank(groups=groups, rank=f"1/{share}") for share in (2, 4, 8, 16)}
        for groups in (1, 2, 4, 8)
    ],
    "patdnn": [{f"e = {entries}": PatDNN(entries) for entries in range(8, 0, -1)}],
    "window-low-rank": [{f"r = m/{share}": WindowLowRank(rank=f"1/{share}") for share in (2, 4, 8)}],
}
BY_WEIGHTS = ("pairs", "patdnn")  # whose patterns no data choose
CHOICES = (*NAMES, ALDS, *UNIFORM)


@dataclass(frozen=True)
class Costed:
    """A plan of a choice within a budget.

    Attributes:
        plan: it, with all rows and positions that data choose.
        setting: the one that all layers have; empty where each has its own.
        cycles: per image.
        energy: pJ per image.
    """

    plan: Plan
    setting: str
    cycles: int
    energy: float

    @property
    def loss(self) -> float:
        """As predicted."""
        assert self.plan.predicted_loss is not None  # plans are made so
        return self.plan.predicted_loss

    def cost(self, quantity: str) -> float:
        """Of one of the two."""
        return {CYCLES: self.cycles, ENERGY: self.energy}[quantity]


class Bench:
    """A network on one array, with the plans of all choices.

    Args:
        measured: network and data.
        size: R = C of the array.
        kinds: the kinds of uniform settings.
        images: training images to calibrate on.
    """

    def __init__(self, measured: Subject, size: int, kinds: Iterable[str], images: int) -> None:
        self.array = ArraySpec(size, size)
        self.measured = measured
        self.chains = {kind: self._chains(kind) for kind in kinds}
        uniform = [plan for chains in self.chains.values() for chain in chains for plan in chain.values()]
        self.study = Study(measured, self.array, uniform, images)
        self._costs: dict[str, Costed] = {}
        self._energies: dict[int, float] = {}

    def best(self, choice: str, quantity: str, budget: float) -> Costed:
        """The plan of a choice within a budget.

        Raises:
            InputError: it has none.
        """
        if choice in NAMES:
            return self._costed(self.study.choice(NAMES[choice], quantity, budget), "")
        if choice == ALDS:
            return self._alds(quantity, budget)
        found = []
        for chain in self.chains[choice]:
            costed = (self._settled(choice, setting, plan) for setting, plan in chain.items())
            within = (one for one in costed if one.cost(quantity) <= budget)
            found.extend(islice(within, 1))
        if not found:
            raise InputError(f"no setting of {choice} fits")
        if len(found) == 1:
            return found[0]
        return min(found, key=lambda one: one.loss)

    def energy_of_planner(self, cycles: int) -> float:
        """pJ of the planner's plan for so many cycles."""
        if cycles not in self._energies:
            self._energies[cycles] = self.best(PLANNER, CYCLES, cycles).energy
        return self._energies[cycles]

    def before(self, plan: Plan) -> float:
        """The accuracy of a plan on the test images before any training."""
        model = self.study.losses.network(plan)
        quantise_(model, plan, self.measured.data)
        return evaluate(model, self.measured.data)

    def _chains(self, kind: str) -> list[dict[str, Plan]]:
        chains = []
        for settings in UNIFORM[kind]:
            chain = {}
            for setting, method in settings.items():
                # Settings that change no layer on this array are refused.
                with suppress(InputError):
                    chain[setting] = uniform_plan(
                        self.measured.network, self.array, method, bits=BITS, mapping="best"
                    )
            chains.append(chain)
        return chains

    def _settled(self, kind: str, setting: str, plan: Plan) -> Costed:
        key = f"{kind}, {setting}"
        if key not in self._costs:
            if kind in BY_WEIGHTS:
                plan = plan.predicting(self.study.losses.of(plan))
            else:
                plan = self.study.settled(plan)
            self._costs[key] = self._costed(plan, setting)
        return self._costs[key]

    def _costed(self, plan: Plan, setting: str) -> Costed:
        network = self.measured.network
        masks = plan.masks
        if any(layer.kind.masked and layer.kind.known_support is None for layer in plan.layers):
            masks = masks_of(self.study.losses.network(plan))
        cycles = network_cycles(network, plan, (), masks).chosen_cycles
        energy = network_energy(network, plan, self.study.table, masks).energy
        return Costed(plan, setting, cycles, energy)

    def _alds(self, quantity: str, budget: float) -> Costed:
        """Within cycles as ALDS keeps them; within energy the most cycles whose plan needs no more of it."""
        if quantity == CYCLES:
            return self._alds_within(round(budget))
        low, high = 0, self._alds_within("100%").cycles
        found = None
        # Energy rises with the cycles of these plans, but for steps of a setting; a bisection to 1 % is fair.
        while high - low > 0.01 * high:
            middle = (low + high) // 2
            try:
                trial = self._alds_within(middle)
            except InputError:
                low = middle
                continue
            if trial.energy <= budget:
                found, low = trial, middle
            else:
                high = min(middle, trial.cycles)
        if found is None:
            raise InputError("no groups and ranks need so little energy")
        return found

    def _alds_within(self, cycles: int | str) -> Costed:
        budget = Budget.parse(CYCLES, str(cycles))
        plan = alds_plan(self.measured.dense, self.measured.network, self.array, budget, bits=BITS).plan
        return self._costed(plan.predicting(self.study.losses.of(plan)), "")


def make(bench: Bench, choice: str, quantity: str, cycles: int, path: Path) -> Costed | None:
    """The plan of a choice for so many cycles, or the energy that the planner takes for them; None: there is
    none. It is written.
    """
    budget = float(cycles)
    if quantity == ENERGY:
        budget = bench.energy_of_planner(cycles)
    try:
        found = bench.best(choice, quantity, budget)
    except InputError as refused:
        print(f"{path.stem}: {refused}", flush=True)
        return None
    found.plan.save(path)
    print(f"{path}: {found.cycles:,} cycles, {found.loss:.4f} nats", flush=True)
    return found


def fill(rows: Rows, folders: Iterable[Path], epochs: int) -> None:
    """Put what finished runs of so many epochs, taught by the dense network, ended with into the table."""
    finished = [folder for folder in folders if (folder / "result.json").exists()]
    networks = [*of_runs(), *(of_folder(folder, folder.name) for folder in finished)]
    found: dict[str, dict[str, float]] = {}
    for one in networks:
        if one.taught and one.epochs == epochs:
            # By the name of the run, as its record may be kept in two places.
            found.setdefault(decisions(one.plan.layers), {})[one.run] = one.accuracy
    places = [HEADER.index(name) for name in TRAINED]
    for row in rows.rows:
        accuracies = found.get(row[HEADER.index("digest")])
        if accuracies:
            cells = (str(epochs), str(len(accuracies)), f"{fmean(accuracies.values()):.4f}")
            for place, cell in zip(places, cells, strict=True):
                row[place] = cell
    write_csv(rows.path, HEADER, rows.rows)


def add_rows(bench: Bench, rows: Rows, options: argparse.Namespace, cycles: int, quantity: str) -> None:
    """Make the plans of all choices for a budget, then measure them; what the table holds is left out."""
    found = {}
    for choice in options.choices:
        name = f"{bench.array.rows}-{quantity}-{cycles}-{choice}"
        key = (f"{bench.array}", quantity, cycles, choice, options.test)
        if key not in rows:
            found[key] = name, make(bench, choice, quantity, cycles, options.plans / f"{name}.json")
    made_by = [commit(), device_name(torch.device("cpu"))]
    for key, (name, plan) in found.items():
        figures: list[object] = [NOTHING, *[None] * 8, *made_by, None]
        if plan is not None:
            figures = [plan.setting, name, *figures_of(bench, plan, options.test), *made_by]
            figures.append(decisions(plan.plan.layers))
        rows.add([*key, *figures])
        print(rows.rows[-1], flush=True)


def figures_of(bench: Bench, plan: Costed, test: int) -> list[object]:
    """The cells of a plan from its predicted loss to its accuracy after training, filled in later."""
    before = None
    if test:
        before = f"{bench.before(plan.plan):.4f}"
    return [f"{plan.loss:.5f}", before, plan.cycles, f"{plan.energy / 1e3:.1f}", *[None] * len(TRAINED)]


def tell(rows: Rows) -> None:
    """Print the predicted losses in Markdown, a row for each choice and a column for each budget."""
    cells = [dict(zip(HEADER, row, strict=True)) for row in rows.rows]
    for array in dict.fromkeys(cell["array"] for cell in cells):
        own = [cell for cell in cells if cell["array"] == array]
        budgets = sorted({(cell["budget_of"], int(cell["budget"])) for cell in own})
        print(f"| {array} | {' | '.join(f'{cycles:,} ({name})' for name, cycles in budgets)} |")
        print(f"| --- |{' --: |' * len(budgets)}")
        for choice in dict.fromkeys(cell["choice"] for cell in own):
            losses = {}
            for cell in own:
                if cell["choice"] == choice and cell["predicted_loss"]:
                    words = f"{float(cell['predicted_loss']):.3g}"
                    if cell["setting"]:
                        words += f" ({cell['setting']})"
                    losses[cell["budget_of"], int(cell["budget"])] = words
            print(f"| {choice} | {' | '.join(losses.get(budget, '–') for budget in budgets)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, test=2000)
    parser.add_argument("--network", choices=sorted(NETWORKS), default="resnet20")
    parser.add_argument("--arrays", type=int, nargs="+", default=sorted(BUDGETS), choices=sorted(BUDGETS))
    parser.add_argument("--cycles", type=int, nargs="+", help="budgets (default: three for each array)")
    parser.add_argument("--within", nargs="+", default=(CYCLES, ENERGY), choices=(CYCLES, ENERGY))
    parser.add_argument("--images", type=int, default=MOMENT_IMAGES, help="to calibrate on (default 512)")
    parser.add_argument("--choices", nargs="+", default=CHOICES, choices=CHOICES)
    parser.add_argument("--plans", type=Path, required=True, help="folder for the plans")
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="folders of finished runs")
    parser.add_argument("--epochs", type=int, default=4, help="of the runs whose accuracies are filled in")
    parser.add_argument("--out", type=Path, default=Path("results/planned/baselines.csv"))
    options = parser.parse_args()
    if options.network != "resnet20" and not options.cycles:
        parser.error("name the budgets of this network (--cycles)")
    measured = subject(options)
    rows = Rows(options.out, HEADER, KEYS)
    for size in options.arrays:
        kinds = [one for one in options.choices if one in UNIFORM]
        bench = Bench(measured, size, kinds, options.images)
        for cycles, quantity in product(options.cycles or BUDGETS[size], options.within):
            add_rows(bench, rows, options, cycles, quantity)
    fill(rows, options.runs, options.epochs)
    tell(rows)


if __name__ == "__main__":
    main()
