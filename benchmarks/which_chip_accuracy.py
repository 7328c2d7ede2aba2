"""Which of three chips for ResNet-20, with accuracies: what methods and plans change about the answer.

Usage: python benchmarks/which_chip_accuracy.py [--data DATA --runs FOLDER] [--images 500] [--out FOLDER]

Networks that were trained on CIFAR-10 at 4 bits and are on record (`NETWORKS`), on every chip with mappings
and copies as `rankfold chip --choose-mappings` finds them: shapes alone, nothing is timed. Beside these
stands the accuracy on record, of all 10,000 test images, without arrays.

With --runs and --data also the accuracy on the arrays of every chip, with its cells and ADCs and without
noise, of those networks whose run is there, on some test images (the same for all) drawn with seed 0. Weights
are not in the repository: the runs are those of

    rankfold compress resnet20 --data DATA --plan PLAN --epochs EPOCHS --seed 0 --threads 1 --out FOLDER/NAME

with the plan and epochs of the table (--rate 0.08 for four epochs). Rows that the table has already are kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from measured_rows import Rows, commit

from rankfold.chip.best import run_on_chip
from rankfold.chip.run import ChipRun
from rankfold.machine import ChipSpec, load_chip
from rankfold.plan import Plan
from rankfold.runs.chips import LoadedRun
from rankfold.runs.simulate import simulate_run
from rankfold.runs.simulation import SimulationOptions
from rankfold.workload import Network, zoo_network

RESULTS = Path(__file__).parents[1] / "results"
CHIPS = ("rram-22nm", "isscc-2020-15.3", "isscc-2021-16.4")
FIGURES = (
    "chip",
    "network",
    "epochs",
    "mode",
    "arrays_used",
    "images_per_second",
    "latency_us",
    "energy_nj",
    "area_mm2",
    "limit",
    "accuracy",
    "commit",
)
ON_ARRAYS = ("chip", "network", "images", "accuracy_without_arrays", "accuracy_on_arrays", "commit")


@dataclass(frozen=True)
class Trained:
    """A network on record.

    Attributes:
        name: what the tables call it, and the folder of its run.
        plan: its plan, below `results`.
        record: its result, below `results`.
    """

    name: str
    plan: str
    record: str

    @property
    def result(self) -> dict:
        """Its `result.json`."""
        return json.loads((RESULTS / self.record).read_text(encoding="utf-8"))


NETWORKS = (
    Trained("dense", "unlabelled/plans/dense-64.json", "unlabelled/one-epoch/dense-64/result.json"),
    Trained("low-rank", "unlabelled/plans/lr4q-64.json", "unlabelled/one-epoch/lr4q-64/result.json"),
    Trained("windows", "planned/four-windows-k2/plan.json", "planned/four-windows-k2/result.json"),
    Trained("planned-9088", "planned/four-planned-9088/plan.json", "planned/four-planned-9088/result.json"),
    Trained("planned-5440", "planned/four-planner-5440/plan.json", "planned/four-planner-5440/result.json"),
)


def row(trained: Trained, run: ChipRun) -> list[str]:
    """One line of the table of figures."""
    result = trained.result
    return [
        run.chip.name,
        trained.name,
        str(result["recipe"]["epochs"]),
        run.mode,
        str(run.arrays_used),
        f"{run.images_per_second:.0f}",
        f"{run.latency:.2f}",
        f"{1e-3 * run.total_energy:.1f}",
        f"{sum(run.area.values()):.2f}",
        run.limit,
        f"{result['accuracy']['final']:.4f}",
        commit(),
    ]


def place(network: Network, chips: Sequence[ChipSpec], out: Path) -> None:
    """Write the figures of all networks on all chips."""
    table = Rows(out / "which_chip_resnet20.csv", FIGURES, keys=2)
    for chip in chips:
        for trained in NETWORKS:
            if (chip.name, trained.name) in table:
                continue
            plan = Plan.load(RESULTS / trained.plan).on(chip.hardware)
            table.add(row(trained, run_on_chip(network, plan, chip, choose_mappings=True)))
            print(*table.rows[-1], sep="  ", flush=True)


def measure(chips: Sequence[ChipSpec], data: str, runs: Path, images: int, out: Path) -> None:
    """Write the accuracies on arrays of the networks whose runs are there."""
    table = Rows(out / "which_chip_resnet20_on_arrays.csv", ON_ARRAYS, keys=3)
    for trained in NETWORKS:
        if not (runs / trained.name).is_dir():
            print(f"{trained.name}: no run in {runs}")
            continue
        loaded = LoadedRun.load(runs / trained.name, data)
        for chip in chips:
            if (chip.name, trained.name, images) in table:
                continue
            options = SimulationOptions(hardware=chip.hardware, images=images, layer_images=0)
            found = simulate_run(loaded, options)
            accuracies = f"{found.ideal:.4f}", f"{found.mean:.4f}"
            table.add([chip.name, trained.name, images, *accuracies, commit()])
            print(*table.rows[-1], sep="  ", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--data", help="CIFAR-10, for accuracies on arrays")
    parser.add_argument("--runs", type=Path, help="folder of the runs, by the names of the networks")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--out", type=Path, default=RESULTS / "chips")
    options = parser.parse_args()
    chips = [load_chip(name) for name in CHIPS]
    place(zoo_network("resnet20"), chips, options.out)
    if options.runs is not None:
        if options.data is None:
            parser.error("--runs needs --data")
        measure(chips, options.data, options.runs, options.images, options.out)


if __name__ == "__main__":
    main()
