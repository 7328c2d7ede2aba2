"""Whether the copies of a window layer want step sizes of their own.

Usage: python benchmarks/window_step_sizes.py --data path/to/cifar10 [--arrays 64 128] [--test 10000]
    [--out results/windows/step_sizes.csv]

The shipped float ResNet-20 with windows by stage (window_settings.py), made for 512 training images, weights
and inputs of 4 bits. The weights of each window layer are rounded to the levels of one step for the layer, as
the package does, or of one for the outputs of each pixel of the window; either is the step of the least
squared error. Batch norm is measured again for both. No training; seed 0. For each the root mean square of
what rounding changes of the window weights, relative to theirs, the largest ratio of two steps of a layer,
and top-1 on the first test images with its standard error.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from measured_rows import Rows, commit, standard_error
from shipped_network import add_options, subject
from torch import Tensor, nn
from window_settings import BY_STAGE_NAME, plan_of

from rankfold import ArraySpec, compress_, evaluate, quantise_
from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.samples import CALIBRATION_IMAGES, Samples
from rankfold.nn.quantisers import Quantiser
from rankfold.nn.window import WindowConv2d
from rankfold.runs.record import device_name

HEADER = ("array", "steps", "images", "rounding", "largest_ratio", "accuracy", "error", "commit", "device")
LAYER, PIXEL = "one for the layer", "one for each pixel"


def window_layers(model: nn.Module) -> Iterator[WindowConv2d]:
    """Those of a quantised network."""
    for module in model.modules():
        if isinstance(module, WindowConv2d):
            yield module


def rounded_by_pixel(layer: WindowConv2d) -> tuple[Tensor, float]:
    """The weights on levels of each pixel's own step, and the ratio of the longest step to the shortest."""
    whole = layer.matrix.weight.detach()
    values, steps = torch.empty_like(whole), []
    # Outputs lie pixel by pixel, all channels of one together.
    for rows in torch.arange(len(whole)).chunk(layer.window[0] * layer.window[1]):
        of_layer = layer.matrix.weight_quantiser
        quantiser = Quantiser(of_layer.bits, signed=True, narrow=of_layer.narrow)
        mask = layer.matrix.mask
        part = whole[rows]
        quantiser.fit_(part if mask is None else part[mask[rows]])
        values[rows] = quantiser(part).detach()
        steps.append(float(quantiser.step))
    return values, max(steps) / min(steps)


@torch.no_grad()
def give_pixels_steps_(model: nn.Module) -> tuple[float, float]:
    """Round the weights of window layers by pixel; its relative error, and the largest ratio of steps."""
    lost = energy = 0.0
    ratios = []
    for layer in window_layers(model):
        values, ratio = rounded_by_pixel(layer)
        before = masked(layer, layer.matrix.weight)
        lost += float((masked(layer, values) - before).square().sum())
        energy += float(before.square().sum())
        ratios.append(ratio)
        layer.matrix.weight.copy_(values)
        layer.matrix.weight_quantiser.bypass = True
    return (lost / energy) ** 0.5, max(ratios)


@torch.no_grad()
def rounding_of(model: nn.Module) -> float:
    """The relative error of rounding to one step for each layer."""
    lost = energy = 0.0
    for layer in window_layers(model):
        weight = masked(layer, layer.matrix.weight)
        rounded = masked(layer, layer.matrix.weight_quantiser(layer.matrix.weight))
        lost += float((rounded - weight).square().sum())
        energy += float(weight.square().sum())
    return (lost / energy) ** 0.5


def masked(layer: WindowConv2d, weight: Tensor) -> Tensor:
    """Without the rows that arrays do not drive."""
    mask = layer.matrix.mask
    return weight if mask is None else weight * mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--arrays", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--out", type=Path, default=Path("results/windows/step_sizes.csv"))
    options = parser.parse_args()
    measured = subject(options)
    data, images = measured.data, len(measured.data.test)
    rows, made_by = Rows(options.out, HEADER, 3), [commit(), device_name(torch.device("cpu"))]
    for size in options.arrays:
        model = copy.deepcopy(measured.dense)
        plan = plan_of(BY_STAGE_NAME, measured.network, ArraySpec(size, size))
        compress_(model, plan, data)
        quantise_(model, plan, data)
        for steps in (LAYER, PIXEL):
            figures = (rounding_of(model), 1.0)
            if steps == PIXEL:
                figures = give_pixels_steps_(model)
                batches = Samples(data, CALIBRATION_IMAGES, torch.device("cpu"), image=plan.one_image)
                reestimate_batch_norm_(model, batches)
            accuracy = evaluate(model, data)
            shown = [f"{figure:.4f}" for figure in (*figures, accuracy, standard_error(accuracy, images))]
            rows.add([f"{size}x{size}", steps, images, *shown, *made_by])
            print(rows.rows[-1], flush=True)


if __name__ == "__main__":
    main()
