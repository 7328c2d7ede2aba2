"""Weights of a quantised network rounded so that the errors of a layer's weights cancel in its outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import nn

from rankfold.calibration.correction import correct_, following_norms, free_of_constants
from rankfold.calibration.moment_sums import MomentSums
from rankfold.calibration.moments import LARGEST_MOMENTS, PatchMoments
from rankfold.calibration.observation import evaluating, observing, run_batches
from rankfold.calibration.patches import patch_inputs
from rankfold.calibration.samples import Inputs
from rankfold.lowrank.regression import RIDGE, with_ridge
from rankfold.lowrank.rounding import Nearest, rounded
from rankfold.nn.quantised import QuantLayer
from rankfold.nn.quantisers import Quantiser


@torch.no_grad()
def compensate_rounding_(model: nn.Module, batches: Iterable[Inputs]) -> None:
    """Set the weights of all quantised layers to levels that keep their outputs, see `lowrank.rounding`.

    The moments are those of the quantised inputs, of one pass through the network as it is: every layer
    reads what layers of weights rounded to the nearest give it. What is constant in an output's error is
    taken back in the layer's bias, or in the batch norm that follows it directly. The weights are values
    of the grid afterwards: rounding them to the nearest level leaves them as they are.

    Left to rounding to the nearest: layers that share a weight with others, those of more than 8,192 inputs,
    whose moments would take gigabytes, and those that the data do not reach.

    Args:
        model: a network after `calibrate_`; weights, biases and running statistics of its norms change.
        batches: inputs of the model, on its device, gone through twice; at least one.

    Raises:
        InputError: there is no batch.
    """
    layers = _layers(model)
    norms = following_norms(model, batches, list(layers))
    moments = _quantised_moments(model, batches, layers)
    centred = free_of_constants(model, moments, norms)
    for name, known in moments.items():
        norm = None
        if name in norms:
            norm = model.get_submodule(norms[name])
        _round_(layers[name], known, centred.get(name, known), norm)


def _layers(model: nn.Module) -> dict[str, QuantLayer]:
    """The layers to round, by name."""
    layers: dict[str, QuantLayer] = {}
    for name, module in model.named_modules():
        if isinstance(module, QuantLayer):
            layers[name] = module
    # What suits the inputs of one layer need not suit those of another.
    readers = Counter(id(layer.weight) for layer in layers.values())
    alone = {name: layer for name, layer in layers.items() if readers[id(layer.weight)] == 1}
    return {name: layer for name, layer in alone.items() if patch_inputs(layer) <= LARGEST_MOMENTS}


def _quantised_moments(
    model: nn.Module, batches: Iterable[Inputs], layers: Mapping[str, QuantLayer]
) -> dict[str, PatchMoments]:
    """The moments of the inputs of all layers that run, as their quantisers round them."""
    sums = {name: MomentSums() for name in layers}

    def add(name: str, layer: QuantLayer, inputs: torch.Tensor) -> None:
        sums[name].add(layer, layer.input_quantiser(inputs))

    with evaluating(model), observing(layers, before=add):
        run_batches(model, batches)
    return {name: gathered.moments() for name, gathered in sums.items() if gathered.count}


def _round_(layer: QuantLayer, moments: PatchMoments, centred: PatchMoments, norm: nn.Module | None) -> None:
    """Round the weight of one layer for centred moments, and take back the constant error."""
    before = layer.weight.clone()
    mask = getattr(layer, "mask", None)  # of convolutions alone
    if mask is None:
        mask = torch.ones_like(before, dtype=torch.bool)
    before *= mask
    groups = len(moments.second)
    shape = groups, len(before) // groups, -1  # (G, m/G, n)
    weight = before.cpu().double().numpy().reshape(shape)
    kept = mask.cpu().numpy().reshape(shape)
    nearest = _nearest(layer.weight_quantiser)
    made = np.empty_like(weight)
    for group, second in enumerate(centred.second):
        made[group] = rounded(weight[group], with_ridge(second, RIDGE), nearest, kept[group])
    layer.weight.copy_(torch.from_numpy(made).reshape(before.shape))
    correct_(layer.bias, norm, before, layer.weight, moments)


def _nearest(quantiser: Quantiser) -> Nearest:
    """Rounding to the grid of a quantiser, of float64."""
    scale = quantiser.scale.item()

    def nearest(values: np.ndarray) -> np.ndarray:
        levels: np.ndarray = (
            quantiser.levels(torch.from_numpy(values).to(quantiser.step.device)).cpu().numpy()
        )
        return levels * scale

    return nearest
