"""Is the predicted loss of rounding what is measured? ResNet-20, a layer at a time and in random mixes.

Usage: python benchmarks/layer_bits.py --data path/to/cifar10 [--test 512] [--mixes 16] [--moments 256]
    [--norm 256] [--out results/sensitivity]

`layer`: each convolution alone at 3 bits of weights or of inputs, and 8 of the other, all others in float.
`bits`: all convolutions are quantised; a share of them, drawn between none and all, at widths drawn from 2 to
8, the others at 8. `mix`: the same, but the layers of this share become one of several things as well, drawn
evenly: they stay dense, become a low-rank pair (1, m/2) or (2, m/4), or a window layer for 64x64 arrays, of
all inputs or of half of their row tiles. The first convolution stays dense.

Networks are made and quantised as `rankfold compress` does, without training. Predicted is the sum over the
layers from training images (`--moments`). It is of T^2 KL(dense || network) at T = 4 to second order; this is
measured on the first test images, with the rise of the cross entropy with their labels, against the dense
network with batch norm measured again on the same training images (`--norm`). rounding.csv is written network
by network, each with these settings, and taken up again with the same ones; others need another `--out`;
rounding-agreement.csv has Spearman's rank correlations of what is predicted with 95 % intervals of 2,000
bootstrap samples, and quartiles of predicted / measured.
"""

from __future__ import annotations

import argparse
import copy
import csv
import io
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from shipped_network import Subject, add_options, subject
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold import ArraySpec, Plan, quantise_
from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.sensitivity import TEMPERATURE
from rankfold.files import write_text
from rankfold.mapping.window_matrix import window_shape
from rankfold.plan import DenseLayer, LayerPlan, LowRankLayer, WindowLayer
from rankfold.plan.kinds import LayerKind
from rankfold.plan.plan import weights
from rankfold.planning.accuracy import MeasureSettings, PlanAccuracy
from rankfold.planning.data import planning_data
from rankfold.planning.exact.slots import LayerSlot, layer_slots
from rankfold.planning.exact.widths import BitChoices
from rankfold.planning.kinds.window import candidate_windows
from rankfold.planning.layer_losses import KindLosses, LayerLosses, dense_weight
from rankfold.planning.statistics import layer_statistics
from rankfold.workload import Network
from rankfold.workload.shape import Pair

CPU = torch.device("cpu")
ARRAY = ArraySpec(64, 64)
ALL_LEVELS = ArraySpec(64, 64, cell_bits=2, coding="offset")  # as its table counts
WIDTHS = BitChoices.parse("2-8")
WIDEST = 8
LAYER, BITS, MIX = "layer", "bits", "mix"
SETTINGS = ("test", "moments", "norm", "seed")  # what is measured depends on
ALONE = ((3, 8), (8, 3))  # (bits of weights, of inputs)


@dataclass(frozen=True)
class Row:
    """One network: what is predicted to be lost, and what was measured."""

    set: str
    network: str
    predicted: float
    divergence: float  # T^2 KL(dense || network)
    cross_entropy: float  # its rise
    accuracy: float


@dataclass(frozen=True)
class Drawn:
    """One network to be made."""

    set: str
    words: str
    predicted: float
    layers: dict[str, LayerPlan]


@dataclass(frozen=True)
class Known:
    """One convolution with all that it may become here.

    Attributes:
        losses: of what the layer may become.
        kinds: what it may become, dense first.
    """

    losses: LayerLosses
    kinds: tuple[LayerKind, ...]

    @cached_property
    def found(self) -> dict[LayerKind, KindLosses]:
        """Of each kind, with all that is chosen on data."""
        return {kind: self.losses.of(kind) for kind in self.kinds}

    def become(self, kind: LayerKind, bits: tuple[int, int]) -> tuple[LayerPlan, float]:
        """The entry of a plan, and what it is predicted to lose."""
        known = self.found[kind]
        name = self.losses.study.slot.name
        entry = LayerPlan(name, known.kind, weight_bits=bits[0], input_bits=bits[1])
        return entry, known.loss(entry)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares predicted and measured losses of rounding.")
    add_options(parser, test=512)
    parser.add_argument("--mixes", type=int, default=16, help="networks of random bits, and of random mixes")
    parser.add_argument("--moments", type=int, default=256, help="training images to predict from")
    parser.add_argument("--norm", type=int, default=256, help="training images to quantise on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/sensitivity"))
    options = parser.parse_args()
    shipped = subject(options)
    start = time.process_time()
    layers, accuracy = known_layers(shipped, options.moments, options.seed)
    print(f"sensitivities in {time.process_time() - start:.0f} s of processor time", flush=True)
    norm = list(shipped.data.calibration_batches(options.norm, CPU, options.seed))
    tests = list(shipped.data.batches_of(shipped.data.test, CPU))
    dense = copy.deepcopy(shipped.dense)
    reestimate_batch_norm_(dense, norm)
    wanted = scores(dense, tests)
    file = options.out / "rounding.csv"
    settings = {name: getattr(options, name) for name in SETTINGS}
    rows = read(file, settings)
    known = {(row.set, row.network) for row in rows}
    for drawn in networks(layers, options.mixes, options.seed):
        if (drawn.set, drawn.words) in known:
            continue
        start = time.process_time()
        network = made(shipped.network, accuracy, drawn.layers, norm)
        rows.append(Row(drawn.set, drawn.words, drawn.predicted, *compared(wanted, network, tests)))
        write(file, rows, settings)
        last = rows[-1]
        print(
            f"{len(rows):3} {last.set:5} predicted {last.predicted:.4f}, measured {last.divergence:.4f}, "
            f"cross entropy {last.cross_entropy:+.4f}, {last.accuracy:.1%}, "
            f"{time.process_time() - start:.1f} s",
            flush=True,
        )
    agreement(options.out / "rounding-agreement.csv", rows, options.seed)


def known_layers(shipped: Subject, images: int, seed: int) -> tuple[dict[str, Known], PlanAccuracy]:
    """All convolutions, and what makes networks of them."""
    slots = {slot.name: slot for slot in layer_slots(shipped.network, ARRAY, WIDEST)}
    names = [shape.weight for shape in shipped.network.convolutions]
    windows = {name: candidate_windows(slots[name])[:1] for name in names if not slots[name].why_dense}
    batches = list(shipped.data.calibration_batches(images, CPU, seed))
    found = layer_statistics(
        shipped.dense, batches, names, seed, windows=windows, widths=dict.fromkeys(names, WIDTHS)
    )
    layers = {}
    for name in names:
        weight = dense_weight(shipped.dense.get_submodule(name))
        losses = LayerLosses.on(slots[name], weight, found)
        layers[name] = Known(losses, possible(slots[name], windows.get(name, ())))
    data = planning_data(shipped.data, CPU)
    accuracy = PlanAccuracy(shipped.dense, data, MeasureSettings(), found.moments, found.window_moments)
    return layers, accuracy


def possible(slot: LayerSlot, windows: Sequence[Pair]) -> tuple[LayerKind, ...]:
    """What a layer may become here, dense first."""
    kinds: list[LayerKind] = [DenseLayer()]
    if slot.why_dense:
        return tuple(kinds)
    kinds += [LowRankLayer(1, slot.shape.m // 2), LowRankLayer(2, slot.shape.m // 4)]
    for window in windows:
        tiles = -(-window_shape(slot.shape, window).n // ARRAY.rows)
        kinds += [WindowLayer(window), WindowLayer(window, -(-tiles // 2) * ARRAY.rows)]
    return tuple(kinds)


def networks(layers: dict[str, Known], mixes: int, seed: int) -> Iterator[Drawn]:
    """All that are measured."""
    for name, layer in layers.items():
        for bits in ALONE:
            entry, predicted = layer.become(layer.kinds[0], bits)
            yield Drawn(LAYER, f"{name}={bits[0]}/{bits[1]}", predicted, {name: entry})
    for number, name in enumerate((BITS, MIX)):
        draw = np.random.default_rng([seed, number])
        for _ in range(mixes):
            chosen, predicted = drawn_mix(layers, draw, name == MIX)
            yield Drawn(name, words(chosen.values()), predicted, chosen)


def drawn_mix(
    layers: dict[str, Known], draw: np.random.Generator, mixed: bool
) -> tuple[dict[str, LayerPlan], float]:
    """An entry of each convolution, and what all are predicted to lose."""
    chosen, total = {}, 0.0
    share = draw.uniform()
    for name, layer in layers.items():
        kind, bits = layer.kinds[0], (WIDEST, WIDEST)
        if draw.uniform() < share:
            bits = (int(draw.choice(WIDTHS.weights)), int(draw.choice(WIDTHS.inputs)))
            if mixed:
                kind = layer.kinds[draw.integers(len(layer.kinds))]
        chosen[name], predicted = layer.become(kind, bits)
        total += predicted
    return chosen, total


def words(entries: Iterable[LayerPlan]) -> str:
    """What layers become, at which bits."""
    return " ".join(
        f"{entry.name}={entry.kind.short().replace(' ', ',')}:{entry.weight_bits}/{entry.input_bits}"
        for entry in entries
    )


def made(
    network: Network, accuracy: PlanAccuracy, layers: dict[str, LayerPlan], norm: list[Tensor]
) -> nn.Module:
    """The network with these layers, quantised; all others in float."""
    entries = [layers.get(name, LayerPlan(name, DenseLayer())) for name in weights(network)]
    plan = Plan.of(network, ARRAY, entries)
    module = accuracy.compressed(plan)
    quantise_(module, plan, norm, hardware=ALL_LEVELS)
    return module


def scores(network: nn.Module, tests: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """(N, classes) what a network gives for all images, and their labels (N,)."""
    network.eval()
    with torch.no_grad():
        found = [network(images) for images, _ in tests]
    return torch.cat(found), torch.cat([labels for _, labels in tests])


def compared(
    wanted: tuple[Tensor, Tensor], network: nn.Module, tests: Sequence[tuple[Tensor, Tensor]]
) -> tuple[float, float, float]:
    """T^2 KL(dense || network), the rise of the cross entropy, and the accuracy."""
    dense, labels = wanted
    found, _ = scores(network, tests)
    soft = [(one.double() / TEMPERATURE).log_softmax(1) for one in (found, dense)]
    divergence = F.kl_div(*soft, log_target=True, reduction="batchmean")
    rise = F.cross_entropy(found, labels) - F.cross_entropy(dense, labels)
    right = (found.argmax(1) == labels).double().mean()
    return TEMPERATURE**2 * float(divergence), float(rise), float(right)


def agreement(file: Path, rows: list[Row], seed: int) -> None:
    """Rank correlations with what was measured, and quartiles of predicted / measured divergence."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(
        ["set", "networks", "measured", "spearman", "low", "high", "quarter", "median", "three quarters"]
    )
    for name in (LAYER, BITS, MIX):
        for measure in ("divergence", "cross_entropy", "accuracy"):
            chosen = [row for row in rows if row.set == name]
            if not chosen:
                continue
            sign = -1 if measure == "accuracy" else 1
            pairs = np.array([(row.predicted, sign * getattr(row, measure)) for row in chosen])
            draw = np.random.default_rng(seed)
            samples = []
            for _ in range(2000):
                samples.append(spearmanr(*pairs[draw.integers(len(pairs), size=len(pairs))].T).statistic)
            found = [spearmanr(*pairs.T).statistic, *np.nanquantile(samples, (0.025, 0.975))]
            ratios = ["", "", ""]
            if measure == "divergence":
                found_ratios = np.quantile(pairs[:, 0] / pairs[:, 1], (0.25, 0.5, 0.75))
                ratios = [f"{value:.2f}" for value in found_ratios]
            table.writerow([name, len(chosen), measure, *(f"{value:.3f}" for value in found), *ratios])
    write_text(file, out.getvalue())
    print(out.getvalue())


def read(file: Path, settings: dict[str, int]) -> list[Row]:
    """What was measured before with the same settings; refuses what others gave."""
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as source:
        rows = []
        for row in csv.DictReader(source):
            before = {name: row.get(name) for name in SETTINGS}
            if before != {name: str(value) for name, value in settings.items()}:
                given = ", ".join(f"--{name} {value}" for name, value in before.items())
                raise SystemExit(f"{file} was measured with {given}; give another folder (--out)")
            numbers = [float(row[one.name]) for one in fields(Row)[2:]]
            rows.append(Row(row["set"], row["network"], *numbers))
        return rows


def write(file: Path, rows: list[Row], settings: dict[str, int]) -> None:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow([*(one.name for one in fields(Row)), *SETTINGS])
    for row in rows:
        name, network, *numbers = astuple(row)
        table.writerow([name, network, *(f"{value:.6g}" for value in numbers), *settings.values()])
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, out.getvalue())


if __name__ == "__main__":
    main()
