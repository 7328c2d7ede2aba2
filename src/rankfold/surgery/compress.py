"""Surgery: put low-rank modules, masks and quantisers where the plan says, and report every layer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from rankfold.calibration.correction import correct_, following_norms, free_of_constants
from rankfold.calibration.moments import PatchMoments, paired_moments, patch_moments
from rankfold.errors import InputError, UnsupportedLayerError
from rankfold.lowrank import LowRankFactors
from rankfold.nn.low_rank import LowRankConv2d, check_convertible
from rankfold.nn.low_rank_linear import LowRankLinear
from rankfold.nn.masked import MaskedConv2d
from rankfold.nn.quantised import LayerBits, quantise_
from rankfold.plan import LOW_RANK, NARROWED, PRUNED, SUPPORT, LayerPlan, Plan
from rankfold.pruning import Pruning, choose_masks
from rankfold.surgery.channels import narrow_, select_channels_
from rankfold.surgery.support_surgery import check_layer_entries, layer_support, take_support_
from rankfold.workload.tracing.torch_layers import CALLED

LARGEST_MOMENTS = 8192  # inputs of a layer whose moments are gathered: half a gigabyte


@dataclass(frozen=True)
class LayerReport:
    """What surgery did to one layer.

    Attributes:
        name: the layer.
        kind: as in the plan.
        reason: why, as in the plan.
        groups: g, or None.
        rank: r, or None.
        error: relative Frobenius error of the weight, None for a layer that keeps its weight, or loses channels.
        plain_error: the bound of Theorem 1, the error at equal rank without groups; None where R_ keeps only some positions.
        output_error: relative error of the layer's output on calibration data, None where the factors do not know them.
        parameters_before: weights and biases before.
        parameters_after: weights and biases after; of a pruned layer those that are kept.
    """

    name: str
    kind: str
    reason: str
    groups: int | None
    rank: int | None
    error: float | None
    plain_error: float | None
    parameters_before: int
    parameters_after: int
    output_error: float | None = None


def compress_(
    model: nn.Module, plan: Plan, decompose: bool = True, moments: Mapping[str, PatchMoments] | None = None
) -> tuple[LayerReport, ...]:
    """Replace, in place, the convolutions and fully connected layers that `plan` makes low-rank or prunes.

    A module that is registered under several names is replaced once, in all places. Everything is checked before
    anything is changed.

    Args:
        model: the dense network.
        plan: a plan for it.
        decompose: compute factors, masks and channels from the weights; False only builds the modules, for weights to be loaded.
        moments: of the inputs of layers whose factors or supports shall keep the output on these inputs; others get those
            nearest to the weights.

    Returns:
        One report for each layer of the plan, in its order.

    Raises:
        InputError: the plan names a module that the model does not have, or its numbers of channels do not fit the model.
        UnsupportedLayerError: a layer has behaviour that its replacement would not carry over.
        MissingDependencyError: channels are to be chosen and torch-pruning is not installed.
    """
    modules = dict(model.named_modules())
    called = called_as_functions(model, plan)
    _check(model, modules, plan, called)
    before = {layer.name: kept_parameters(modules[layer.name]) for layer in plan.layers if layer.name not in called}
    if any(layer.kind == NARROWED for layer in plan.layers):
        if decompose:
            select_channels_(model, plan)
        else:
            narrow_(model, plan)
    masks = _masks(modules, plan) if decompose else {}
    replaced: dict[nn.Module, nn.Module] = {}
    reports = []
    for layer in plan.layers:
        if layer.name in called:
            size = called[layer.name].numel()
            reports.append(LayerReport(layer.name, layer.kind, layer.reason, None, None, None, None, size, size))
            continue
        module = modules[layer.name]
        known = None if moments is None else moments.get(layer.name)
        errors: tuple[float | None, float | None] = (None, None)
        output_error = None
        if isinstance(module, (nn.Conv2d, nn.Linear)) and layer.groups is not None and layer.rank is not None:
            if decompose:
                replaced[module], factors = _decomposed(module, layer, layer.groups, layer.rank, known)
                bound = None if layer.entries is not None else factors.plain_error
                errors, output_error = (factors.error, bound), factors.output_error
            elif isinstance(module, nn.Conv2d):
                replaced[module] = LowRankConv2d(module, layer.groups, layer.rank, layer.entries is not None)
            else:
                replaced[module] = LowRankLinear(module, layer.groups, layer.rank)
        if isinstance(module, nn.Conv2d) and layer.kind == PRUNED:
            if layer.name in masks:
                errors = (_dropped(module.weight, masks[layer.name]), None)
            elif decompose:
                masks[layer.name], lost, output_error = take_support_(module, layer, known)
                errors = (lost, None)
            replaced[module] = MaskedConv2d.from_conv(module, masks.get(layer.name))
        now = replaced.get(module)
        after = kept_parameters(module if now is None else now)
        reports.append(
            LayerReport(
                layer.name, layer.kind, layer.reason, layer.groups, layer.rank, *errors, before[layer.name], after, output_error
            )
        )
    for parent in list(model.modules()):
        # named_children would list a child of two names only once; the registry has them all.
        for name, child in list(parent._modules.items()):
            if child is not None and child in replaced:
                setattr(parent, name, replaced[child])
    return tuple(reports)


def _check(model: nn.Module, modules: Mapping[str, nn.Module], plan: Plan, called: Mapping[str, Tensor]) -> None:
    for layer in plan.layers:
        if layer.name in called:
            if layer.kind in (LOW_RANK, PRUNED):
                raise UnsupportedLayerError(f"layer {layer.name} is {CALLED}; leave it dense in the plan, or exclude it")
            continue
        if layer.name not in modules:
            raise InputError(f"the plan names layer {layer.name}, which the network does not have; make a plan for this network")
        module = modules[layer.name]
        if layer.kind in (LOW_RANK, PRUNED) and module is model:
            raise InputError("the network is a single layer; wrap it in nn.Sequential so that it can be replaced")
        if layer.kind in (LOW_RANK, PRUNED) or (layer.kind == NARROWED and isinstance(module, nn.Conv2d)):
            check_convertible(layer.name, module)
        if layer.entries is not None:
            check_layer_entries(layer, module)
    kinds = {layer.kind for layer in plan.layers}
    if NARROWED in kinds and kinds & {LOW_RANK, PRUNED}:
        raise InputError("a plan with channel-pruned layers cannot have low-rank or pattern-pruned ones too; make two plans")


def _masks(modules: Mapping[str, nn.Module], plan: Plan) -> dict[str, np.ndarray]:
    """The masks of all layers pruned by patterns, chosen together."""
    prunings, found = {}, {}
    for layer in plan.layers:
        module = modules.get(layer.name)
        if isinstance(module, nn.Conv2d) and layer.pruning not in (None, SUPPORT) and layer.entries is not None:
            prunings[layer.name] = Pruning(layer.pruning, layer.entries, layer.block, module.groups)
            found[layer.name] = module.weight.detach().cpu().double().numpy()
    return choose_masks(found, prunings)


def _dropped(weight: Tensor, mask: np.ndarray) -> float:
    """||W - mask*W||_F / ||W||_F, 0 for a weight of nothing but zeros."""
    values = weight.detach().cpu().double().numpy()
    whole = float(np.linalg.norm(values))
    return float(np.linalg.norm(np.where(mask, 0.0, values))) / whole if whole else 0.0


def compress_on_data_(
    model: nn.Module, plan: Plan, batches: Callable[[], Iterable[Tensor]], sequential: bool = False
) -> tuple[LayerReport, ...]:
    """As `compress_`, with factors and supports that keep the layers' outputs on data.

    Layers of more than 8,192 inputs (the first fully connected one of VGG has 25,088), whose moments would take gigabytes, get a
    plain SVD; their report then has no `output_error`.

    Where a layer has a bias or a batch norm follows it directly, a constant error of its output costs nothing: the factors are
    made for centred inputs (their `output_error` is relative to the outputs' variation then), and the mean, and behind a batch
    norm the variance, are set right in closed form (see `correction`).

    Args:
        model: the dense network.
        plan: a plan for it.
        batches: gives the calibration inputs, on the model's device, each time it is called.
        sequential: one layer after another, each made for the inputs that the layers before it, already compressed, now give
            it, and for the outputs that the dense network had; it runs the network twice for every layer.

    Raises:
        InputError: see `compress_`; or there is no batch, or a layer never runs on them.
        UnsupportedLayerError: see `compress_`.
    """
    chosen = [layer for layer in plan.layers if layer.made_for_data]
    modules = dict(model.named_modules())
    chosen = [layer for layer in chosen if _inputs(modules.get(layer.name)) <= LARGEST_MOMENTS]
    compress_(copy.deepcopy(model), plan, decompose=False)  # refuses what cannot be done before any work is
    names = [layer.name for layer in chosen]
    norms = following_norms(model, batches(), names)
    if not sequential:
        return compress_on_moments_(model, plan, patch_moments(model, batches(), names), norms)
    dense = copy.deepcopy(model)
    found: dict[str, LayerReport] = {}
    for layer in chosen:
        moments = {layer.name: paired_moments(model, dense, batches(), layer.name)}
        (found[layer.name],) = compress_on_moments_(model, replace(plan, layers=(layer,)), moments, norms)
    kept = compress_(model, replace(plan, layers=tuple(layer for layer in plan.layers if layer.name not in found)))
    found.update((report.name, report) for report in kept)
    return tuple(found[layer.name] for layer in plan.layers)


def compress_on_moments_(
    model: nn.Module, plan: Plan, moments: Mapping[str, PatchMoments], norms: Mapping[str, str]
) -> tuple[LayerReport, ...]:
    """As `compress_`, with constant errors of the outputs left to biases and batch norms where there are such.

    Args:
        model: the dense network.
        plan: a plan for it.
        moments: of the inputs of the layers whose factors or supports shall keep the output on these inputs.
        norms: the batch norm behind each layer, see `following_norms`.

    Raises:
        InputError: see `compress_`.
        UnsupportedLayerError: see `compress_`.
    """
    modules = dict(model.named_modules())
    centred = free_of_constants(model, moments, norms)
    # Cloned, since layers with a shared support keep their Parameter objects.
    before = {name: modules[name].weight.detach().clone() for name in centred}
    reports = compress_(model, plan, moments={**moments, **centred})
    for name in centred:
        made = model.get_submodule(name)
        if isinstance(made, (LowRankConv2d, LowRankLinear)):
            bias, weight = made.expand.bias, made.to_dense().weight
        else:
            assert isinstance(made, MaskedConv2d)  # no other layer has moments
            bias, weight = made.bias, made.weight
        norm = model.get_submodule(norms[name]) if name in norms else None
        correct_(bias, norm, before[name], weight, moments[name])
    return reports


def quantise_by_plan_(model: nn.Module, plan: Plan) -> None:
    """Give every layer of `plan` that has bit widths its quantisers, in place, after `compress_`.

    Both stages of a low-rank pair are quantised; the value between them is always signed.

    Raises:
        InputError: a sign is still open in the plan, or a module is not what the plan says.
    """
    bits: dict[str, LayerBits] = {}
    for layer in plan.layers:
        if layer.weight_bits is None or layer.input_bits is None:
            continue
        if layer.input_signed is None:
            raise InputError(f"plan, layer {layer.name}: input_signed is open; fill it in, or let the data show it")
        first = LayerBits(layer.weight_bits, layer.input_bits, layer.input_signed)
        if layer.kind == LOW_RANK:
            bits[f"{layer.name}.reduce"] = first
            bits[f"{layer.name}.expand"] = LayerBits(layer.weight_bits, layer.input_bits, True)
        else:
            bits[layer.name] = first
    quantise_(model, bits)


def called_as_functions(model: nn.Module, plan: Plan) -> dict[str, Tensor]:
    """Layers of `plan` that are no module of the network but a parameter used in a function call, with that parameter."""
    modules = {name for name, module in model.named_modules() if isinstance(module._parameters.get("weight"), Tensor)}
    parameters = dict(model.named_parameters())
    found = {layer.name: parameters.get(layer.name, parameters.get(f"{layer.name}.weight")) for layer in plan.layers}
    return {name: parameter for name, parameter in found.items() if parameter is not None and name not in modules}


def _decomposed(
    module: nn.Conv2d | nn.Linear, layer: LayerPlan, groups: int, rank: int, moments: PatchMoments | None
) -> tuple[LowRankConv2d | LowRankLinear, LowRankFactors]:
    if isinstance(module, nn.Conv2d):
        return LowRankConv2d.from_conv(module, groups, rank, moments, layer.entries, layer_support(layer, module))
    return LowRankLinear.from_linear(module, groups, rank, moments)


def open_signs(plan: Plan) -> dict[str, str]:
    """Layers whose input sign is still open: plan name -> name of the module (after `compress_`) that gets the input."""
    return {
        layer.name: _input_module(layer) for layer in plan.layers if layer.input_signed is None and layer.weight_bits is not None
    }


def _input_module(layer: LayerPlan) -> str:
    return f"{layer.name}.reduce" if layer.kind == LOW_RANK else layer.name


def kept_parameters(model: nn.Module) -> int:
    """Weights and biases of all layers; of masked ones those that are kept."""
    dropped = sum(int((~module.mask).sum()) for module in model.modules() if isinstance(module, MaskedConv2d))
    return sum(parameter.numel() for parameter in model.parameters()) - dropped


def _inputs(module: nn.Module | None) -> int:
    """n of a layer: the inputs of one output of one of its groups."""
    weight = None if module is None else module._parameters.get("weight")
    return 0 if weight is None else weight[0].numel()
