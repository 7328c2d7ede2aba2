"""Does the predicted loss rank whole plans as accuracy does? Random plans of ResNet-20, not fine-tuned.

Usage: python benchmarks/sensitivity.py --data path/to/cifar10 [--any 64] [--equal 60] [--quantised 64]
    [--images 5000] [--out results/sensitivity]

Each of the 18 convolutions but the first stays dense, or becomes low-rank (g, r), keeps a support of e kernel
positions, or both. Plans `any`: a share of layers drawn between none and all changes, to candidates drawn
evenly. Plans `equal`: only those that keep 50 to 60 % of the parameters of these layers, so that their number
tells nothing. Each plan is measured on a fixed subset of the test split, in float and, with the first
`--quantised` of `any`, at 4 bits as `rankfold compress` quantises; batch norm is measured again each time, on
1,024 training images. Predictions come from 512 training images, layer by layer, and are summed. plans.csv is
written plan by plan and taken up again; correlations.csv holds Spearman's and Kendall's with 95 % intervals
of 2,000 bootstrap samples of the plans.
"""

from __future__ import annotations

import argparse
import copy
import csv
import io
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr
from torch import Tensor, nn

from rankfold import ArraySpec, Plan, evaluate, load_images, load_model, quantise_, trace, uniform_plan
from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.samples import MOMENT_IMAGES
from rankfold.calibration.sensitivity import LayerSensitivity, predicted_loss, sensitivities
from rankfold.files import write_text
from rankfold.lowrank import (
    LowRankFactors,
    decompose_for_data,
    full_rank,
    nested_supports,
    reconstruct,
    refit,
    row_sparse,
)
from rankfold.mapping import map_layer, map_low_rank
from rankfold.models.load import apply_weights, read_weights
from rankfold.models.pretrained import shipped_baseline
from rankfold.nn.low_rank import LowRankConv2d
from rankfold.plan import LowRankLayer
from rankfold.training.data import ImageData
from rankfold.workload import ConvShape, Network

ANY, EQUAL = "any", "equal"  # the sets of plans
ARRAY, CPU = ArraySpec(64, 64), torch.device("cpu")
NORM_IMAGES, BITS, PARAMETERS = 1024, 4, (0.5, 0.6)
PREDICTORS = ("predicted", "kronecker", "output_error", "weight_error", "parameters", "cycles")
RISING = ("parameters", "cycles")  # the more, the better; of the others the less


@dataclass(frozen=True)
class Candidate:
    """What a layer may become: (g, r), a support of e positions, or both."""

    groups: int | None = None
    rank: int | None = None
    entries: int | None = None

    def __str__(self) -> str:
        return ("" if self.groups is None else f"g{self.groups}r{self.rank}") + (
            "" if self.entries is None else f"e{self.entries}"
        )

    def parameters(self, shape: ConvShape) -> int:
        """Weights that are kept."""
        inputs = shape.n if self.entries is None else shape.in_channels * self.entries
        return shape.m * inputs if self.groups is None else self.rank * (inputs + shape.m * self.groups)


def candidates(shape: ConvShape) -> list[Candidate]:
    """All that save parameters."""
    pairs = [(g, shape.m // part) for g in (1, 2, 4, 8) for part in (2, 4, 8, 16)]
    pairs = [(g, r) for g, r in pairs if r <= full_rank(shape, g)]
    found = [Candidate(g, r) for g, r in pairs] + [Candidate(entries=e) for e in range(1, 9)]
    found += [Candidate(g, r, e) for g, r in pairs if g in (1, 4) and r > shape.m // 16 for e in (2, 4, 6)]
    return [one for one in found if one.parameters(shape) < shape.parameters]


@dataclass(frozen=True)
class Replacement:
    """A candidate made for the data: the weight it stands for, and its factors if it has any."""

    weight: np.ndarray
    factors: LowRankFactors | None
    cycles: int


@dataclass(frozen=True)
class Layer:
    """One convolution: shape, weight and sensitivity; and everything it may become, made once when first
    wanted.
    """

    shape: ConvShape
    weight: np.ndarray
    sensitivity: LayerSensitivity

    @cached_property
    def supports(self) -> dict[int, np.ndarray]:
        """By number of positions."""
        return nested_supports(self.weight, 1, self.sensitivity.moments.second)

    @cached_property
    def made(self) -> dict[Candidate, Replacement]:
        """What has been made so far."""
        return {}

    def become(self, candidate: Candidate) -> Replacement:
        """The layer as this candidate."""
        if candidate not in self.made:
            self.made[candidate] = self._make(candidate)
        return self.made[candidate]

    def _make(self, candidate: Candidate) -> Replacement:
        second, groups, rank = self.sensitivity.moments.second, candidate.groups, candidate.rank
        if groups is None or rank is None:
            support = self.supports[candidate.entries]
            cycles = map_layer(self.shape, ARRAY, "best", support).cycles
            return Replacement(refit(self.weight, 1, second, support), None, cycles)
        support = None
        if candidate.entries is None:
            factors = decompose_for_data(self.weight, 1, groups, rank, second)
        else:
            factors, support = row_sparse(self.weight, 1, groups, rank, second, candidate.entries)
        cycles = map_low_rank(self.shape, ARRAY, groups, rank, "best", support).cycles
        return Replacement(reconstruct(factors, 1, groups).reshape(self.weight.shape), factors, cycles)


@dataclass(frozen=True)
class Bench:
    """The dense network, and what is done to all plans alike."""

    dense: nn.Module
    network: Network
    layers: dict[str, Layer]
    data: ImageData  # with the part of the test split that plans are measured on
    norm: list[Tensor]  # training images on which batch norm is measured and quantisers are calibrated


@dataclass(frozen=True)
class Row:
    """One plan: predictors, and what was measured."""

    set: str
    plan: str
    predicted: float
    kronecker: float
    output_error: float
    weight_error: float
    parameters: int
    cycles: int
    accuracy: float
    accuracy_4bit: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Ranks random plans by predicted loss and by measured accuracy."
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--any", type=int, default=64, dest="free", help="plans of any size")
    parser.add_argument("--equal", type=int, default=60, help="plans of about equal parameters")
    parser.add_argument(
        "--quantised", type=int, default=64, help="plans of any size that are measured at 4 bits, too"
    )
    parser.add_argument("--images", type=int, default=5000, help="test images, drawn under the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/sensitivity"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = load_images(options.data)
    dense = baseline(data)
    network = trace(dense, data.input_size, "resnet20")
    layers = known_layers(dense, network, data, options.seed)
    data = replace(data, test=data.test.sample(options.images, options.seed))
    norm = list(data.calibration_batches(NORM_IMAGES, CPU, options.seed))
    bench = Bench(dense, network, layers, data, norm)
    print(f"dense: {evaluate(dense, data):.2%} of {data.test_images} images", flush=True)
    file = options.out / "plans.csv"
    rows = read(file)
    for name, plan in drawn_plans(layers, options.free, options.equal, options.seed):
        text = " ".join(f"{layer}={candidate}" for layer, candidate in plan.items())
        if all((row.set, row.plan) != (name, text) for row in rows):
            start = time.perf_counter()
            quantised = name == ANY and len(rows) < options.quantised
            rows.append(Row(name, text, *predictions(layers, plan), *measured(bench, plan, quantised)))
            write(file, rows)
            seconds = time.perf_counter() - start
            print(
                f"{len(rows):3} {name}: {rows[-1].accuracy:.2%}, 4 bits {rows[-1].accuracy_4bit:.2%}, "
                f"predicted {rows[-1].predicted:.3f}, {seconds:.1f} s",
                flush=True,
            )
    correlate(options.out / "correlations.csv", rows, options.seed)


def baseline(data: ImageData) -> nn.Module:
    """The shipped float ResNet-20."""
    model = load_model("resnet20", classes=len(data.classes))
    found = shipped_baseline("resnet20", data.classes, data.input_size)
    assert found is not None, "the data must be CIFAR-10"
    apply_weights(model, read_weights(Path(found.weights)), str(found.weights))
    return model.eval()


def known_layers(model: nn.Module, network: Network, data: ImageData, seed: int) -> dict[str, Layer]:
    """The convolutions but the first, with their sensitivities."""
    shapes = {layer.name: layer for layer in network.convolutions if layer.kernel == (3, 3)}
    names = list(shapes)[1:]
    start = time.perf_counter()
    found = sensitivities(model, data.calibration_batches(MOMENT_IMAGES, CPU, seed), names)
    print(f"sensitivities of {len(names)} layers in {time.perf_counter() - start:.1f} s", flush=True)
    modules = dict(model.named_modules())
    return {
        name: Layer(shapes[name], modules[name].weight.detach().double().numpy(), found[name])
        for name in names
    }


def drawn_plans(
    layers: dict[str, Layer], free: int, equal: int, seed: int
) -> Iterator[tuple[str, dict[str, Candidate]]]:
    """Plans of both sets; layers that are not named stay dense."""
    choices = {name: candidates(layer.shape) for name, layer in layers.items()}
    whole = sum(layer.shape.parameters for layer in layers.values())
    for number, (name, count) in enumerate(((ANY, free), (EQUAL, equal))):
        draw, found = np.random.default_rng([seed, number]), 0
        while found < count:
            share = draw.uniform()
            plan = {
                layer: some[draw.integers(len(some))]
                for layer, some in choices.items()
                if draw.uniform() < share
            }
            kept = whole
            for layer, candidate in plan.items():
                shape = layers[layer].shape
                kept += candidate.parameters(shape) - shape.parameters
            if name == ANY or PARAMETERS[0] <= kept / whole <= PARAMETERS[1]:
                found += 1
                yield name, plan


def predictions(
    layers: dict[str, Layer], plan: dict[str, Candidate]
) -> tuple[float, float, float, float, int, int]:
    """The predictors of `Row`, in its order."""
    loss = kronecker = output = weight = 0.0
    parameters = cycles = 0
    for name, layer in layers.items():
        if name not in plan:
            parameters += layer.shape.parameters
            cycles += map_layer(layer.shape, ARRAY, "best").cycles
            continue
        made, known = layer.become(plan[name]), layer.sensitivity
        dense = layer.weight.reshape(layer.shape.m, -1)
        lost = dense - made.weight.reshape(layer.shape.m, -1)
        second = known.moments.second[0]
        loss += predicted_loss(layer.weight, made.weight, known)
        kronecker += known.positions * float(np.sum((known.gradient[0] @ lost) * (lost @ second))) / 2
        output += float(np.sum((lost @ second) * lost) / np.sum((dense @ second) * dense))
        weight += float(np.sum(lost**2) / np.sum(dense**2))
        parameters += plan[name].parameters(layer.shape)
        cycles += made.cycles
    return loss, kronecker, output, weight, parameters, cycles


def measured(bench: Bench, plan: dict[str, Candidate], quantised: bool) -> tuple[float, float]:
    """Accuracy in float and, if wanted, at 4 bits."""
    model = copy.deepcopy(bench.dense)
    for name, candidate in plan.items():
        conv, made = model.get_submodule(name), bench.layers[name].become(candidate)
        if made.factors is None:
            fill_(conv.weight, made.weight)
        else:
            pair = LowRankConv2d(conv, candidate.groups, candidate.rank)
            fill_(pair.reduce.weight, made.factors.reduce)
            fill_(pair.expand.weight, made.factors.expand)
            model.set_submodule(name, pair)
    reestimate_batch_norm_(model, bench.norm)
    exact = evaluate(model, bench.data)
    if not quantised:
        return exact, math.nan
    quantise_(model, bit_plan(bench.network, plan), bench.norm)
    return exact, evaluate(model, bench.data)


def bit_plan(network: Network, plan: dict[str, Candidate]) -> Plan:
    """Bits of all layers; one with a support alone is a dense one with zeros."""
    layers = []
    for layer in uniform_plan(network, ARRAY, bits=BITS).layers:
        one = plan.get(layer.name, Candidate())
        if one.groups is not None and one.rank is not None:
            layer = replace(layer, kind=LowRankLayer(one.groups, one.rank))
        layers.append(layer)
    return Plan(network.name, network.input, ARRAY, tuple(layers))


def fill_(parameter: Tensor, values: np.ndarray) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values))


def correlate(file: Path, rows: list[Row], seed: int) -> None:
    """Rank correlations of every predictor with every measurement, in each set."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(
        ["set", "plans", "measured", "predictor", "spearman", "low", "high", "kendall", "low", "high"]
    )
    for name, measure in ((ANY, "accuracy"), (ANY, "accuracy_4bit"), (EQUAL, "accuracy")):
        chosen = [row for row in rows if row.set == name and not math.isnan(getattr(row, measure))]
        if chosen:
            for predictor in PREDICTORS:
                sign = 1 if predictor in RISING else -1
                pairs = np.array([(sign * getattr(row, predictor), getattr(row, measure)) for row in chosen])
                found = []
                for rank in (spearmanr, kendalltau):
                    draw = np.random.default_rng(seed)
                    samples = [
                        rank(*pairs[draw.integers(len(pairs), size=len(pairs))].T).statistic
                        for _ in range(2000)
                    ]
                    found += [rank(*pairs.T).statistic, *np.nanquantile(samples, (0.025, 0.975))]
                table.writerow([name, len(chosen), measure, predictor, *(f"{value:.3f}" for value in found)])
                print(
                    f"{name:5} {measure:13} {predictor:12} "
                    f"Spearman {found[0]:6.3f} [{found[1]:.3f}, {found[2]:.3f}]   "
                    f"Kendall {found[3]:6.3f} [{found[4]:.3f}, {found[5]:.3f}]"
                )
    write_text(file, out.getvalue())


def read(file: Path) -> list[Row]:
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as source:
        return [
            Row(row["set"], row["plan"], *(float(row[one.name]) for one in fields(Row)[2:]))
            for row in csv.DictReader(source)
        ]


def write(file: Path, rows: list[Row]) -> None:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow([one.name for one in fields(Row)])
    table.writerows(
        [row.set, row.plan, *(f"{getattr(row, one.name):.8g}" for one in fields(Row)[2:])] for row in rows
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, out.getvalue())


if __name__ == "__main__":
    main()
