"""Trained detectors and text networks in ONNX: planned, reconstructed without labels, written and run again.

Claim: networks that packages ship, whose outputs are boxes, regions or characters, keep what they are for at
60 and 40 % of the cycles of their best mapping, with drawn images that nobody labelled.

    python benchmarks/detectors.py --networks letters lines [--shares 0.6 0.4] [--bits 8] [--images 256]
        [--steps 50] [--test 256] [--out results/unlabelled/detectors.csv]
    python benchmarks/detectors.py --networks recogniser classifier lines --shares 0.75 0.5 --test 1000
        --out results/unlabelled/ocr.csv

The networks and images are described in `pretrained_detectors.py` and `pretrained_text.py`. For each share of
cycles and each number of bits: the plan (of all the best mappings' cycles where the share is 1), the score of
the original, in onnxruntime; of the network made for the images and quantised, in torch; and of that after
`reconstruct_`, written by `write_onnx` and run in onnxruntime, with the relative error of its outputs; on a
few images of arrays with 6-bit converters. Images that are planned and trained on are drawn with other seeds
than those that are measured on. Rows that the table holds are not measured again; plans and networks are kept
in the folder of `--keep`, and plans that it has are taken.
"""

from __future__ import annotations

import argparse
import copy
import resource
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measured_rows import Rows, commit
from pretrained_detectors import DETECTORS
from pretrained_text import CLASSIFIER, RECOGNISER
from torch import Tensor, nn

import rankfold as rf
from rankfold.calibration.onnx import Runner
from rankfold.cli.words.progress import Bars
from rankfold.cost import network_cycles
from rankfold.planning import PlanningOptions, PlanningProblem, planning_problem, solve_problem
from rankfold.runs.record import device_name
from rankfold.workload.onnx.layers import analyse_onnx

NETWORKS = {**DETECTORS, RECOGNISER.name: RECOGNISER, CLASSIFIER.name: CLASSIFIER}
ARRAY = rf.ArraySpec(128, 128)
TECHNOLOGY = "rram-22nm"
TEST_SEED = 1_000_000  # of the first image that is measured on; those that are learnt from begin at 0
# Not grouped layers, whose search takes long, nor parts of planes, whose moments take much memory.
KINDS = ("low-rank", "window", "window-low-rank", "skipped", "trimmed")
PLANNED_IMAGES, AT_ONCE, ADC_BITS = 32, 16, 6
KEYS = ("network", "share", "bits", "kinds", "images", "steps", "seed")
COSTS = ("im2col_cycles", "best_cycles", "cycles", "best_arrays", "arrays", "best_energy_nj", "energy_nj")
SCORES = ("measure", "test_images", "original", "quantised", "reconstructed", "output_error")
SIMULATED = ("simulated_images", "without_arrays", "simulated")
WORK = ("planning_s", "reconstruction_s", "peak_gib", "commit", "device")
HEADER = (*KEYS, *COSTS, *SCORES, *SIMULATED, *WORK)


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    rows = Rows(options.out, HEADER, len(KEYS))
    for name in options.networks:
        study = Study(name, options)
        for bits in options.bits:
            for share in options.shares:
                kinds = " ".join(options.kinds)
                key = [name, f"{share:g}", bits, kinds, options.images, options.steps, options.seed]
                if key not in rows:
                    rows.add([*key, *study.measured(share, bits)])
                    print(rows.rows[-1], flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, required=True)
    parser.add_argument("--shares", nargs="+", type=float, default=[0.6, 0.4], help="of the best cycles")
    parser.add_argument("--bits", nargs="+", type=int, default=[8], help="of weights and inputs")
    parser.add_argument("--kinds", nargs="+", default=KINDS, help="what layers may become")
    parser.add_argument("--images", type=int, default=256, help="drawn, and not labelled, to learn from")
    parser.add_argument("--steps", type=int, default=50, help="of each block")
    parser.add_argument("--test", type=int, default=256, help="images that scores are measured on")
    parser.add_argument("--simulated", type=int, default=16, help="images that arrays are simulated on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("detectors"), help="folder of plans and networks")
    parser.add_argument("--out", type=Path, default=Path("results/unlabelled/detectors.csv"))
    return parser.parse_args()


class Study:
    """One network, what it is measured on, and how it does as it is.

    Args:
        name: one of `NETWORKS`.
        options: of the command.
    """

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.of, self.options = NETWORKS[name], options
        options.keep.mkdir(parents=True, exist_ok=True)
        self.dense = rf.load_model(str(self.of.path), image=self.of.image)
        self.network = rf.trace(self.dense, self.of.image, name)
        inputs, _ = self.of.drawn(0, options.images)
        self.batches = torch.split(torch.from_numpy(inputs), AT_ONCE)
        self.test, self.wanted = self.of.drawn(TEST_SEED, options.test)
        self.given = self.in_onnxruntime(self.of.path)
        self.original = self.of.score(self.given, self.wanted)
        self._problems: dict[int, tuple[PlanningProblem, float]] = {}
        print(f"{name}: {self.of.measure} {self.original:.4f}", flush=True)

    def measured(self, share: float, bits: int) -> list[Any]:
        """All figures of a row behind its key."""
        stem = self.options.keep / f"{self.of.name}-{share:g}-{bits}"
        plan, planning = self.planned(share, bits, Path(f"{stem}.json"))
        plan.save(f"{stem}.json")
        model = copy.deepcopy(self.dense)
        rf.compress_(model, plan, self.batches, outputs=self.of.outputs)
        plan = rf.quantise_(model, plan, self.batches, reference=self.dense)
        quantised = self.of.score(outputs_of(model, self.test), self.wanted)
        start = time.process_time()
        images, steps, seed = self.options.images, self.options.steps, self.options.seed
        rf.reconstruct_(
            model,
            self.dense,
            self.batches,
            images=images,
            steps=steps,
            seed=seed,
            outputs=self.of.outputs,
            progress=Bars(),
        )
        seconds = time.process_time() - start
        rf.export.write_onnx(model, self.of.image, f"{stem}.onnx")
        given = self.in_onnxruntime(Path(f"{stem}.onnx"))
        error = np.linalg.norm(given - self.given) / np.linalg.norm(self.given)
        score = self.of.score(given, self.wanted)
        scores = [f"{value:.4f}" for value in (self.original, quantised, score, error)]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return [
            *self.costs(plan),
            self.of.measure,
            len(self.test),
            *scores,
            *self.simulated(model, plan),
            f"{planning:.0f}",
            f"{seconds:.0f}",
            f"{peak:.1f}",
            commit(),
            device_name(torch.device("cpu")),
        ]

    def planned(self, share: float, bits: int, kept: Path) -> tuple[rf.Plan, float]:
        """The plan of so many of the best mapping's cycles, and the processor time that it took."""
        best = rf.uniform_plan(self.network, ARRAY, bits=bits, mapping="best")
        if share == 1:
            return best, 0.0
        # Of a run that was stopped; how long it took to make nobody knows.
        if kept.exists():
            return rf.Plan.load(kept), float("nan")
        cycles = int(share * network_cycles(self.network, best).chosen_cycles)
        budget = rf.Budget.parse("cycles", str(cycles))
        if bits not in self._problems:
            start = time.process_time()
            options = PlanningOptions(
                bits=bits,
                outputs=self.of.outputs,
                pointwise=True,
                kinds=self.options.kinds,
                images=PLANNED_IMAGES,
                seed=self.options.seed,
            )
            problem = planning_problem(
                self.dense,
                self.batches,
                ARRAY,
                budget,
                options=options,
                network=self.network,
                progress=Bars(),
            )
            self._problems[bits] = problem, time.process_time() - start
        # What layers may become is the same under all budgets.
        problem, seconds = self._problems[bits]
        start = time.process_time()
        plan = solve_problem(replace(problem, budgets={"cycles": cycles})).plan
        return plan, seconds + time.process_time() - start

    def costs(self, plan: rf.Plan) -> list[Any]:
        """Cycles, arrays and energy, of the best mapping too."""
        bits = plan.layers[0].weight_bits
        best = rf.uniform_plan(self.network, ARRAY, bits=bits, mapping="best")
        im2col = rf.uniform_plan(self.network, ARRAY, bits=bits, mapping="im2col")
        counted = [network_cycles(self.network, one) for one in (im2col, best, plan)]
        cycles = [one.chosen_cycles for one in counted]
        energies = [rf.energy(self.network, one, TECHNOLOGY) for one in (best, plan)]
        arrays = [one.arrays for one in energies]
        return [*cycles, *arrays, *(f"{one.energy / 1000:.0f}" for one in energies)]

    def simulated(self, model: nn.Module, plan: rf.Plan) -> list[Any]:
        """The images, and the scores on them, of the network and of it on arrays with ADCs of few bits."""
        count = self.options.simulated
        few, wanted = self.test[:count], self.wanted[:count]
        calibration = [self.batches[0]]
        arrays = rf.simulate(model, plan, rf.NonIdealities(adc_bits=ADC_BITS), calibration=calibration)
        scores = [self.of.score(outputs_of(one, few), wanted) for one in (model, arrays)]
        return [count, *(f"{score:.4f}" for score in scores)]

    def in_onnxruntime(self, path: Path) -> np.ndarray:
        """The output (N, ...) of a file on all test images; of one image a run, as some files want it."""
        runner = Runner(self.resized(path), self.options.threads)
        (name,) = runner.inputs
        return np.concatenate([runner({name: image[None]})[0] for image in self.test])

    def resized(self, path: Path) -> Any:
        """The file for images of the size that is measured."""
        return analyse_onnx(path, self.of.image).file.model


def outputs_of(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """(N, ...) of a network of one output, in eval mode."""
    model.eval()
    found: list[Tensor] = []
    with torch.no_grad():
        for batch in torch.split(torch.from_numpy(images), AT_ONCE):
            found.append(model(batch))
    return torch.cat(found).numpy()


if __name__ == "__main__":
    main()
