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
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sensitivity_layers import ARRAY, Candidate, Layer, Replacement, candidates, window_candidates
from sensitivity_rows import ANY, EQUAL, PLAIN, WINDOWS, Row, correlate, read, write
from shipped_network import add_options, subject
from torch import Tensor, nn

from rankfold import Plan, evaluate, quantise_, uniform_plan
from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.network_sensitivities import network_sensitivities
from rankfold.calibration.samples import MOMENT_IMAGES
from rankfold.calibration.sensitivity import predicted_loss
from rankfold.mapping import map_layer
from rankfold.nn.low_rank import LowRankConv2d
from rankfold.plan import LayerPlan, LowRankLayer, WindowLayer
from rankfold.planning.exact.slots import layer_slots
from rankfold.planning.kinds import candidates_of
from rankfold.surgery.kinds.kind import surgery_of
from rankfold.training.data import ImageData
from rankfold.workload import Network

CPU = torch.device("cpu")
NORM_IMAGES, BITS, PARAMETERS = 1024, 4, (0.5, 0.6)


@dataclass(frozen=True)
class Bench:
    """The dense network, and what is done to all plans alike."""

    dense: nn.Module
    network: Network
    layers: dict[str, Layer]
    data: ImageData  # with the part of the test split that plans are measured on
    norm: list[Tensor]  # training images on which batch norm is measured and quantisers are calibrated


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


if __name__ == "__main__":
    main()
