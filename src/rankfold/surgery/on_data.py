"""Surgery on data: every layer becomes what the plan says, made for its inputs on calibration data."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from rankfold.calibration.correction import following_norms, free_of_constants
from rankfold.calibration.importance import output_importance
from rankfold.calibration.layer_moments import paired_moments, patch_moments
from rankfold.calibration.moments import LARGEST_MOMENTS, PatchMoments
from rankfold.calibration.output_choice import known_output_loss
from rankfold.calibration.outputs import OutputModel
from rankfold.calibration.patches import ByPatch, Cut, Layer, of_matrices, patch_inputs
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import Plan
from rankfold.surgery.by_weights import build_, by_weights_
from rankfold.surgery.kinds import surgery_of
from rankfold.surgery.layer_report import LayerReport
from rankfold.surgery.undo import unchanged_on_error


def compress_on_data_(
    model: nn.Module,
    plan: Plan,
    batches: Iterable[Any],
    *,
    sequential: bool = False,
    outputs: OutputModel | str | None = None,
) -> tuple[LayerReport, ...]:
    """As `compress_`, with factors and supports that keep the layers' outputs on data.

    Layers of more than 8,192 inputs (the first fully connected one of VGG has 25,088), whose moments would
    take gigabytes, get a plain SVD; their report then has no `output_error`.

    Where a layer has a bias or a batch norm follows it directly, a constant error of its output costs
    nothing: the factors are made for centred inputs (their `output_error` is relative to the outputs'
    variation then), and the mean, and behind a batch norm the variance, are set right in closed form (see
    `calibration.correction`).

    Args:
        model: the dense network.
        plan: a plan for it.
        batches: inputs, on the model's device, gone through several times.
        sequential: one layer after another, each made for the inputs that the layers before it, already
            compressed, now give it, and for the outputs that the dense network had.
        outputs: see `compress_`.

    Raises:
        InputError: see `compress_`.
        UnsupportedLayerError: see `compress_`.
    """
    modules = dict(model.named_modules())
    # What each layer's weights are made for: patches of its inputs.
    readers: dict[str, Layer] = {}
    for layer in plan.layers:
        reader = _reader(layer, modules.get(layer.name))
        if reader is None:
            continue
        if all(patch_inputs(matrix) <= LARGEST_MOMENTS for matrix in of_matrices(reader)):
            readers[layer.name] = reader
    build_(copy.deepcopy(model), plan)  # refuses what cannot be done before any work is
    norms = following_norms(model, batches, list(readers))
    importance = _importance(model, batches, readers, outputs)
    if not sequential:
        moments = _weighed(patch_moments(model, batches, readers), importance)
        return compress_on_moments_(model, plan, moments, norms)
    with unchanged_on_error(model):
        return _in_sequence_(model, plan, batches, readers, norms, importance)


def _importance(
    model: nn.Module,
    batches: Iterable[Any],
    readers: Mapping[str, Layer],
    outputs: OutputModel | str | None,
) -> dict[str, tuple[np.ndarray, ...]]:
    """What errors of outputs count, for each matrix of the layers that ask for it, where a loss is known."""
    asking: dict[str, list[ByPatch]] = {}
    for name, reader in readers.items():
        for matrix in of_matrices(reader):
            if isinstance(matrix, Cut) and matrix.by_patch is not None:
                asking.setdefault(name, []).append(matrix.by_patch)
    # Other networks have no loss that is known here: all outputs count alike.
    if not asking:
        return {}
    loss = known_output_loss(model, batches, outputs)
    if loss is None:
        return {}
    return output_importance(model, batches, asking, loss=loss)


def _weighed(
    moments: Mapping[str, PatchMoments],
    importance: Mapping[str, Sequence[np.ndarray]],
) -> dict[str, PatchMoments]:
    """The moments with what errors of outputs count, where that is known."""
    return {name: known.weighed(importance.get(name)) for name, known in moments.items()}


def _in_sequence_(
    model: nn.Module,
    plan: Plan,
    batches: Iterable[Any],
    readers: Mapping[str, Layer],
    norms: Mapping[str, str],
    importance: Mapping[str, Sequence[np.ndarray]],
) -> tuple[LayerReport, ...]:
    """One layer of `readers` after another, then the rest; an error may leave it half done."""
    # Outputs of the dense network are the goal throughout, while `model` changes layer by layer.
    dense = copy.deepcopy(model)
    reports: dict[str, LayerReport] = {}
    for layer in plan.layers:
        if layer.name not in readers:
            continue
        # Gathered anew for each layer, since all layers before it are replaced by now.
        moments = {layer.name: paired_moments(model, dense, batches, layer.name, readers[layer.name])}
        alone = replace(plan, layers=(layer,))
        (reports[layer.name],) = _on_moments_(model, alone, _weighed(moments, importance), norms)
    # Layers without moments are made from their weights alone.
    rest = tuple(layer for layer in plan.layers if layer.name not in reports)
    for report in by_weights_(model, replace(plan, layers=rest), {}):
        reports[report.name] = report
    return tuple(reports[layer.name] for layer in plan.layers)


def compress_on_moments_(
    model: nn.Module,
    plan: Plan,
    moments: Mapping[str, PatchMoments],
    norms: Mapping[str, str],
) -> tuple[LayerReport, ...]:
    """As `compress_`, with constant errors of outputs left to biases and batch norms where there are such.

    Args:
        model: the dense network.
        plan: a plan for it.
        moments: of the inputs of the layers whose factors or supports shall keep the output on these inputs.
        norms: the batch norm behind each layer, see `following_norms`.

    Raises:
        InputError: see `compress_`.
        UnsupportedLayerError: see `compress_`.
    """
    with unchanged_on_error(model):
        return _on_moments_(model, plan, moments, norms)


def _on_moments_(
    model: nn.Module,
    plan: Plan,
    moments: Mapping[str, PatchMoments],
    norms: Mapping[str, str],
) -> tuple[LayerReport, ...]:
    """`compress_on_moments_`, which an error may leave half done."""
    modules = dict(model.named_modules())
    biased = [layer.name for layer in plan.layers if surgery_of(layer.kind).brings_bias]
    centred = free_of_constants(model, moments, norms, biased)
    # Cloned, since layers with a shared support keep their Parameter objects.
    before = {name: _weight(modules[name]).detach().clone() for name in centred}
    reports = by_weights_(model, plan, {**moments, **centred})
    for name in centred:
        norm = None
        if name in norms:
            norm = model.get_submodule(norms[name])
        surgery = surgery_of(plan.layer(name).kind)
        surgery.correct_(model.get_submodule(name), norm, before[name], moments[name])
    return reports


def _weight(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)  # moments are gathered for convolutions and linear layers only
    return weight


def _reader(layer: LayerPlan, module: nn.Module | None) -> Layer | None:
    """What says which patches a layer's weights are made for; None where its weight alone does."""
    if not layer.kind.made_for_data or not isinstance(module, (nn.Conv2d, nn.Linear)):
        return None
    return surgery_of(layer.kind).reads(layer, module)
