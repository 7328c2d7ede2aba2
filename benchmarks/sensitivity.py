"""Does the predicted loss rank whole plans as accuracy does? Random plans of ResNet-20, not fine-tuned.

Usage: python benchmarks/sensitivity.py --data path/to/cifar10 [--any 64] [--equal 60] [--windows 0]
    [--plain 0] [--quantised 64] [--images 5000] [--out results/sensitivity]

Each of the 18 convolutions but the first stays dense, or becomes low-rank (g, r), keeps a support of e kernel
positions, or both. Plans `any`: a share of layers drawn between none and all changes, to candidates drawn
evenly. Plans `equal`: only those that keep 50 to 60 % of the parameters of these layers, so that their number
tells nothing. Plans `windows`: as `any`, but every second layer that changes becomes a window layer, one of
those that the planner knows on 64x64 arrays, drawn evenly. Plans `plain`: the first ones of these again, with
rows that are chosen as if all outputs were equally important. Each plan is measured on a fixed subset of the
test split, in float and, with the first `--quantised` of `any`, at 4 bits as `rankfold compress` quantises;
batch norm is measured again each time, on 1,024 training images. Predictions come from 512 training images,
layer by layer, and are summed. plans.csv is written plan by plan and taken up again; correlations.csv holds
Spearman's and Kendall's with 95 % intervals of 2,000 bootstrap samples of the plans.
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
from shipped_network import add_options, subject
from torch import Tensor, nn

from rankfold import ArraySpec, Plan, evaluate, quantise_, uniform_plan
from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.samples import MOMENT_IMAGES
from rankfold.calibration.sensitivity import LayerSensitivity, network_sensitivities, predicted_loss
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
from rankfold.lowrank.rows import fitted_rows
from rankfold.mapping import map_layer, map_low_rank
from rankfold.mapping.window_matrix import window_cycles
from rankfold.nn.low_rank import LowRankConv2d
from rankfold.plan import LayerPlan, LowRankLayer, WindowLayer, support_to_text
from rankfold.planning.exact.slots import LayerSlot, layer_slots
from rankfold.planning.kinds import PIXEL, LayerStudy, candidates_of
from rankfold.surgery.kinds.kind import surgery_of
from rankfold.training.data import ImageData
from rankfold.workload import ConvShape, Network
from rankfold.workload.shape import Pair

ANY, EQUAL, WINDOWS, PLAIN = "any", "equal", "windows", "plain"  # the sets of plans
ARRAY, CPU = ArraySpec(64, 64), torch.device("cpu")
NORM_IMAGES, BITS, PARAMETERS = 1024, 4, (0.5, 0.6)
PREDICTORS = ("predicted", "kronecker", "output_error", "weight_error", "parameters", "cycles")
RISING = ("parameters", "cycles")  # the more, the better; of the others the less


@dataclass(frozen=True)
class Candidate:
    """What a layer may become: (g, r), a support of e positions, or both; or a window of so many inputs."""

    groups: int | None = None
    rank: int | None = None
    entries: int | None = None
    window: WindowLayer | None = None

    def __str__(self) -> str:
        if self.window is not None:
            return self.window.short().replace(" ", "")
        return ("" if self.groups is None else f"g{self.groups}r{self.rank}") + (
            "" if self.entries is None else f"e{self.entries}"
        )

    def parameters(self, shape: ConvShape) -> int:
        """Weights that are kept."""
        if self.window is not None:
            a, b = self.window.window
            return shape.m * a * b * self.window.rows
        inputs = shape.n if self.entries is None else shape.in_channels * self.entries
        return shape.m * inputs if self.groups is None else self.rank * (inputs + shape.m * self.groups)


def candidates(shape: ConvShape) -> list[Candidate]:
    """All that save parameters."""
    pairs = [(g, shape.m // part) for g in (1, 2, 4, 8) for part in (2, 4, 8, 16)]
    pairs = [(g, r) for g, r in pairs if r <= full_rank(shape, g)]
    found = [Candidate(g, r) for g, r in pairs] + [Candidate(entries=e) for e in range(1, 9)]
    found += [Candidate(g, r, e) for g, r in pairs if g in (1, 4) and r > shape.m // 16 for e in (2, 4, 6)]
    return [one for one in found if one.parameters(shape) < shape.parameters]


def window_candidates(slot: LayerSlot) -> list[Candidate]:
    """All window layers of whole row tiles that the planner knows, but those of all inputs."""
    entries = candidates_of(WindowLayer).entries(slot, None)
    return [Candidate(window=entry.kind) for entry in entries if entry.kind.rows is not None]


@dataclass(frozen=True)
class Replacement:
    """A candidate made for the data.

    Attributes:
        before: the weight that it replaces: the layer's own, or the matrix of its window.
        weight: the weight that it stands for.
        sensitivity: of the loss to `before`.
        factors: if it has any.
        kind: of a window layer, with its rows.
        cycles: on the arrays.
    """

    before: np.ndarray
    weight: np.ndarray
    sensitivity: LayerSensitivity
    factors: LowRankFactors | None
    kind: WindowLayer | None
    cycles: int


@dataclass(frozen=True)
class Layer:
    """One convolution: slot, weight and sensitivities, that of a window of one pixel being the weight's; and
    everything it may become, made once when first wanted.
    """

    slot: LayerSlot
    weight: np.ndarray
    sensitivity: LayerSensitivity
    windows: dict[Pair, LayerSensitivity]

    @property
    def shape(self) -> ConvShape:
        """Its shape."""
        return self.slot.shape

    @cached_property
    def supports(self) -> dict[int, np.ndarray]:
        """By number of positions."""
        return nested_supports(self.weight, 1, self.sensitivity.moments.second)

    @cached_property
    def made(self) -> dict[tuple[Candidate, bool], Replacement]:
        """What has been made so far."""
        return {}

    @cached_property
    def study(self) -> LayerStudy:
        """Its windows, with their rows."""
        windows = {PIXEL: self.sensitivity, **self.windows}
        return LayerStudy(self.slot, self.weight, self.sensitivity.moments.second, None, windows)

    def become(self, candidate: Candidate, plain: bool = False) -> Replacement:
        """The layer as this candidate; with `plain` rows chosen as if errors of all outputs counted alike."""
        if (candidate, plain) not in self.made:
            self.made[candidate, plain] = self._make(candidate, plain)
        return self.made[candidate, plain]

    def _make_window(self, window: WindowLayer, plain: bool) -> Replacement:
        problem = self.study.window(window.window)
        fitted = problem.fitted(window.rows)
        if plain:
            second = problem.sensitivity.moments.centred().second
            fitted = fitted_rows(problem.copies, 1, second, window.rows)
        kind = window.with_support(support_to_text(fitted.support))
        cycles = window_cycles(self.shape, window.window, ARRAY, window.rows)
        return Replacement(problem.copies, fitted.weight, problem.sensitivity, None, kind, cycles)

    def _make(self, candidate: Candidate, plain: bool) -> Replacement:
        if candidate.window is not None:
            return self._make_window(candidate.window, plain)
        second, groups, rank = self.sensitivity.moments.second, candidate.groups, candidate.rank
        if groups is None or rank is None:
            support = self.supports[candidate.entries]
            cycles = map_layer(self.shape, ARRAY, "best", support).cycles
            return self._standing_in(refit(self.weight, 1, second, support), None, cycles)
        support = None
        if candidate.entries is None:
            factors = decompose_for_data(self.weight, 1, groups, rank, second)
        else:
            factors, support = row_sparse(self.weight, 1, groups, rank, second, candidate.entries)
        cycles = map_low_rank(self.shape, ARRAY, groups, rank, "best", support).cycles
        return self._standing_in(reconstruct(factors, 1, groups).reshape(self.weight.shape), factors, cycles)

    def _standing_in(self, weight: np.ndarray, factors: LowRankFactors | None, cycles: int) -> Replacement:
        return Replacement(self.weight, weight, self.sensitivity, factors, None, cycles)


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
    add_options(parser, test=None)
    parser.add_argument("--any", type=int, default=64, dest="free", help="plans of any size")
    parser.add_argument("--equal", type=int, default=60, help="plans of about equal parameters")
    parser.add_argument(
        "--windows", type=int, default=0, help="plans of any size with window layers among them"
    )
    parser.add_argument(
        "--plain", type=int, default=0, help="of these so many with rows chosen without importance"
    )
    parser.add_argument(
        "--quantised", type=int, default=64, help="plans of any size that are measured at 4 bits, too"
    )
    parser.add_argument("--images", type=int, default=5000, help="test images, drawn under the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/sensitivity"))
    options = parser.parse_args()
    shipped = subject(options)
    dense, network, data = shipped.dense, shipped.network, shipped.data
    layers = known_layers(dense, network, data, options.seed)
    data = replace(data, test=data.test.sample(options.images, options.seed))
    norm = list(data.calibration_batches(NORM_IMAGES, CPU, options.seed))
    bench = Bench(dense, network, layers, data, norm)
    print(f"dense: {evaluate(dense, data):.2%} of {data.test_images} images", flush=True)
    file = options.out / "plans.csv"
    rows = read(file)
    counts = {ANY: options.free, EQUAL: options.equal, WINDOWS: options.windows, PLAIN: options.plain}
    for name, plan in drawn_plans(layers, counts, options.seed):
        text = " ".join(f"{layer}={candidate}" for layer, candidate in plan.items())
        if all((row.set, row.plan) != (name, text) for row in rows):
            start = time.perf_counter()
            quantised = name == ANY and len(rows) < options.quantised
            made = {one: layers[one].become(candidate, name == PLAIN) for one, candidate in plan.items()}
            found = predictions(layers, plan, made)
            rows.append(Row(name, text, *found, *measured(bench, plan, made, quantised)))
            write(file, rows)
            seconds = time.perf_counter() - start
            print(
                f"{len(rows):3} {name}: {rows[-1].accuracy:.2%}, 4 bits {rows[-1].accuracy_4bit:.2%}, "
                f"predicted {rows[-1].predicted:.3f}, {seconds:.1f} s",
                flush=True,
            )
    correlate(options.out / "correlations.csv", rows, options.seed)


def known_layers(model: nn.Module, network: Network, data: ImageData, seed: int) -> dict[str, Layer]:
    """The convolutions but the first, with their sensitivities."""
    slots = {slot.name: slot for slot in layer_slots(network, ARRAY, BITS) if slot.spatial}
    names = list(slots)
    windows = {name: candidates_of(WindowLayer).windows(slot) for name, slot in slots.items()}
    start = time.perf_counter()
    batches = data.calibration_batches(MOMENT_IMAGES, CPU, seed)
    found = network_sensitivities(model, batches, names, windows)
    print(f"sensitivities of {len(names)} layers in {time.perf_counter() - start:.1f} s", flush=True)
    modules = dict(model.named_modules())
    return {
        name: Layer(
            slots[name],
            modules[name].weight.detach().double().numpy(),
            found.layers[name],
            found.windows[name],
        )
        for name in names
    }


def drawn_plans(
    layers: dict[str, Layer], counts: dict[str, int], seed: int
) -> Iterator[tuple[str, dict[str, Candidate]]]:
    """Plans of all sets; layers that are not named stay dense."""
    choices = {name: candidates(layer.shape) for name, layer in layers.items()}
    windows = {name: window_candidates(layer.slot) for name, layer in layers.items()}
    whole = sum(layer.shape.parameters for layer in layers.values())
    # The plain plans are those with windows once more.
    for name, number in ((ANY, 0), (EQUAL, 1), (WINDOWS, 2), (PLAIN, 2)):
        draw, found = np.random.default_rng([seed, number]), 0
        while found < counts[name]:
            share = draw.uniform()
            plan = {}
            for layer, some in choices.items():
                if draw.uniform() >= share:
                    continue
                if number == 2 and draw.uniform() < 0.5:
                    some = windows[layer]
                plan[layer] = some[draw.integers(len(some))]
            kept = whole
            for layer, candidate in plan.items():
                shape = layers[layer].shape
                kept += candidate.parameters(shape) - shape.parameters
            if name != EQUAL or PARAMETERS[0] <= kept / whole <= PARAMETERS[1]:
                found += 1
                yield name, plan


def predictions(
    layers: dict[str, Layer], plan: dict[str, Candidate], made: dict[str, Replacement]
) -> tuple[float, float, float, float, int, int]:
    """The predictors of `Row`, in its order; errors of windows are those of their matrices."""
    loss = kronecker = output = weight = 0.0
    parameters = cycles = 0
    for name, layer in layers.items():
        if name not in plan:
            parameters += layer.shape.parameters
            cycles += map_layer(layer.shape, ARRAY, "best").cycles
            continue
        one = made[name]
        known = one.sensitivity
        dense = one.before.reshape(len(one.before), -1)
        lost = dense - one.weight.reshape(dense.shape)
        moments = known.moments
        if one.kind is not None:
            moments = moments.centred()  # biases of pixels take the rest back
        second = moments.second[0]
        loss += predicted_loss(one.before, one.weight, known)
        kronecker += known.positions * float(np.sum((known.gradient[0] @ lost) * (lost @ second))) / 2
        output += float(np.sum((lost @ second) * lost) / np.sum((dense @ second) * dense))
        weight += float(np.sum(lost**2) / np.sum(dense**2))
        parameters += plan[name].parameters(layer.shape)
        cycles += one.cycles
    return loss, kronecker, output, weight, parameters, cycles


def measured(
    bench: Bench, plan: dict[str, Candidate], made: dict[str, Replacement], quantised: bool
) -> tuple[float, float]:
    """Accuracy in float and, if wanted, at 4 bits."""
    model = copy.deepcopy(bench.dense)
    for name, candidate in plan.items():
        conv, one = model.get_submodule(name), made[name]
        if one.kind is not None:
            model.set_submodule(name, windowed(name, conv, one))
        elif one.factors is None:
            fill_(conv.weight, one.weight)
        else:
            pair = LowRankConv2d(conv, candidate.groups, candidate.rank)
            fill_(pair.reduce.weight, one.factors.reduce)
            fill_(pair.expand.weight, one.factors.expand)
            model.set_submodule(name, pair)
    reestimate_batch_norm_(model, bench.norm)
    exact = evaluate(model, bench.data)
    if not quantised:
        return exact, math.nan
    quantise_(model, bit_plan(bench.network, plan), bench.norm)
    return exact, evaluate(model, bench.data)


def windowed(name: str, conv: nn.Conv2d, made: Replacement) -> nn.Module:
    """The window layer that surgery makes, with its biases; batch norm is measured again for all."""
    moments, surgery = made.sensitivity.moments, surgery_of(made.kind)
    entry = LayerPlan(name, made.kind, mapping="im2col")
    layer = surgery.replace(entry, conv, moments.centred(), None).module
    surgery.correct_(layer, None, conv.weight, moments)
    return layer


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
    for name, measure in (
        (ANY, "accuracy"),
        (ANY, "accuracy_4bit"),
        (EQUAL, "accuracy"),
        (WINDOWS, "accuracy"),
        (PLAIN, "accuracy"),
    ):
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
