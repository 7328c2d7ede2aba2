"""Surgery: every layer becomes what the plan says, in place, and every layer is reported."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from rankfold.arguments import takes
from rankfold.calibration.correction import following_norms, free_of_constants
from rankfold.calibration.importance import output_importance
from rankfold.calibration.layer_moments import paired_moments, patch_moments
from rankfold.calibration.moments import LARGEST_MOMENTS, PatchMoments
from rankfold.calibration.output_choice import known_output_loss
from rankfold.calibration.outputs import OUTPUTS, OutputModel
from rankfold.calibration.patches import ByPatch, Cut, Layer, of_matrices, patch_inputs
from rankfold.calibration.samples import MOMENT_IMAGES, GivesBatches, Samples, planned_for
from rankfold.errors import InputError, UnsupportedLayerError
from rankfold.lowrank import DECOMPOSITIONS
from rankfold.models.device import MODEL, device_of
from rankfold.nn.masked import dropped_weights
from rankfold.nn.plain import StandIn
from rankfold.nn.swap import swap_
from rankfold.plan.kinds import LayerKind
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import PLAN, Plan
from rankfold.surgery.kinds import Replacement, surgery_of
from rankfold.surgery.kinds.kind import KindSurgery, Masks
from rankfold.surgery.undo import unchanged_on_error
from rankfold.workload.tracing.torch_layers import CALLED

SVD, DATA, SEQUENTIAL = DECOMPOSITIONS


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """What surgery did to one layer.

    Attributes:
        name: the layer.
        kind: what it became.
        reason: why, as in the plan.
        error: relative Frobenius error of the weight, None for a layer that keeps its weight, or loses
            channels.
        plain_error: the bound of Theorem 1, the error at equal rank without groups; None where R_ keeps only
            some positions.
        output_error: relative error of the layer's output on calibration data, None where the factors do not
            know them.
        parameters_before: weights and biases before.
        parameters_after: weights and biases after; of a pruned layer those that are kept.
        coverage: of the data that the weight was made for, see `PatchMoments.coverage`; None: for none.
    """

    name: str
    kind: LayerKind
    reason: str
    error: float | None = None
    plain_error: float | None = None
    output_error: float | None = None
    parameters_before: int
    parameters_after: int
    coverage: float | None = None


@takes(model=MODEL, plan=PLAN, outputs=OUTPUTS)
def compress_(
    model: nn.Module,
    plan: Plan,
    data: Iterable[Any] | GivesBatches | None = None,
    *,
    decomposition: str = DATA,
    images: int = MOMENT_IMAGES,
    outputs: OutputModel | str | None = None,
) -> tuple[LayerReport, ...]:
    """Replace, in place, the layers of a network as `plan` says; train it then in any loop.

    With data, factors and supports are made so that the layers keep their outputs on them; without, they are
    nearest to the weights. A module that is registered under several names is replaced once, in all places.
    Everything is checked before anything is changed, and an error leaves the network as it was.

    Args:
        model: the dense network.
        plan: a plan for it.
        data: batches, see `calibration.samples.inputs_of`: tensors, pairs (inputs, target), or dictionaries.
        decomposition: with data: `data` (each layer for its own inputs), `sequential` (one layer after
            another, each for the inputs that the compressed layers before it give, and taking back their
            errors; it runs the network twice for every layer) or `svd` (nearest to the weights all the same).
        images: samples of the data that are used.
        outputs: what the network's outputs are taken for, such as `scores:2` or `values`, by which errors of
            layers' outputs count; None: one tensor (B, classes) is scores, all else values, and where outputs
            are no tensors all errors count alike.

    Returns:
        One report for each layer of the plan, in its order.

    Raises:
        InputError: the plan names a module that the model does not have, or its numbers do not fit the model;
            there is no batch, or a layer never runs on them.
        UnsupportedLayerError: a layer has behaviour that its replacement would not carry over.
        MissingDependencyError: channels are to be chosen and torch-pruning is not installed.
    """
    if decomposition not in DECOMPOSITIONS:
        raise InputError(f"decomposition (={decomposition}) must be one of {', '.join(DECOMPOSITIONS)}")
    # Plans whose layers look at weights alone need no pass over the data.
    uses_data = any(layer.kind.made_for_data for layer in plan.layers)
    if data is None or decomposition == SVD or not uses_data:
        return compress_by_weights_(model, plan)
    samples = Samples(data, images, device_of(model), image=plan.one_image)
    with planned_for(plan):
        in_sequence = decomposition == SEQUENTIAL
        return compress_on_data_(model, plan, samples, sequential=in_sequence, outputs=outputs)


def build_(model: nn.Module, plan: Plan) -> None:
    """Put, in place, the modules of a plan into a network, for weights to be loaded.

    Raises:
        InputError: see `compress_`.
        UnsupportedLayerError: see `compress_`.
    """
    modules = dict(model.named_modules())
    called = called_as_functions(model, plan)
    _check(model, modules, plan, called)
    # Sizes first: what is built next takes them from the network's modules.
    for surgery in _grouped(plan, called):
        surgery.resize_(model, plan)
    built: dict[nn.Module, nn.Module] = {}
    for layer in plan.layers:
        if layer.name not in called:
            module = modules[layer.name]
            made = surgery_of(layer.kind).build(layer, module)
            _check_stands_in(layer, module, made)
            if made is not module:
                built[module] = made
    swap_(model, built)


def compress_by_weights_(
    model: nn.Module,
    plan: Plan,
    moments: Mapping[str, PatchMoments] | None = None,
) -> tuple[LayerReport, ...]:
    """As `compress_`, with weights made from the weights, and from moments where they are known.

    Args:
        model: the dense network.
        plan: a plan for it.
        moments: of the inputs of layers whose factors or supports shall keep the output on these inputs;
            others get those nearest to the weights.

    Raises:
        InputError: see `compress_`.
        UnsupportedLayerError: see `compress_`.
    """
    with unchanged_on_error(model):
        return _by_weights_(model, plan, moments or {})


def _by_weights_(
    model: nn.Module,
    plan: Plan,
    moments: Mapping[str, PatchMoments],
) -> tuple[LayerReport, ...]:
    """`compress_by_weights_`, which an error may leave half done."""
    modules = dict(model.named_modules())
    called = called_as_functions(model, plan)
    _check(model, modules, plan, called)
    # Counted now, as `choose_` may narrow modules in place.
    before: dict[str, int] = {}
    for layer in plan.layers:
        if layer.name not in called:
            before[layer.name] = kept_parameters(modules[layer.name])
    # Choices that several layers share come before any layer is made: PatDNN's library is that of all.
    masks: dict[str, Any] = {}
    for surgery, layers in _grouped(plan, called).items():
        masks.update(surgery.choose_(model, plan, layers))
    replaced: dict[nn.Module, nn.Module] = {}
    reports = []
    for layer in plan.layers:
        if layer.name in called:
            reports.append(_left_alone(layer, called[layer.name].numel()))
            continue
        made = _replacement(layer, modules[layer.name], moments, masks)
        if made.module is not modules[layer.name]:
            replaced[modules[layer.name]] = made.module
        reports.append(_report(layer, made, before[layer.name], moments.get(layer.name)))
    # Last, so that every layer is made from the dense network.
    swap_(model, replaced)
    return tuple(reports)


def _replacement(
    layer: LayerPlan,
    module: nn.Module,
    moments: Mapping[str, PatchMoments],
    masks: Masks,
) -> Replacement:
    surgery = surgery_of(layer.kind)
    made = surgery.replace(layer, module, moments.get(layer.name), masks.get(layer.name))
    _check_stands_in(layer, module, made.module)
    return made


def _check_stands_in(layer: LayerPlan, module: nn.Module, made: nn.Module) -> None:
    """Refuse a replacement that does not say which dense layer it equals, or that it equals none."""
    if made is not module and not isinstance(made, StandIn):
        raise InputError(
            f"layer {layer.name}: a {layer.kind.name} layer became {type(made).__name__}, which must be a "
            "rankfold.nn.plain.StandIn"
        )


def _report(
    layer: LayerPlan, made: Replacement, before: int, moments: PatchMoments | None = None
) -> LayerReport:
    return LayerReport(
        name=layer.name,
        kind=layer.kind,
        reason=layer.reason,
        error=made.error,
        plain_error=made.plain_error,
        output_error=made.output_error,
        parameters_before=before,
        parameters_after=kept_parameters(made.module),
        coverage=None if moments is None else moments.coverage,
    )


def _left_alone(layer: LayerPlan, size: int) -> LayerReport:
    """The report of a layer that is no module, but a parameter in a function call."""
    return LayerReport(
        name=layer.name,
        kind=layer.kind,
        reason=layer.reason,
        parameters_before=size,
        parameters_after=size,
    )


def _grouped(plan: Plan, called: Mapping[str, Tensor]) -> dict[KindSurgery, list[LayerPlan]]:
    """The layers that are modules, by what surgery does with them."""
    groups: dict[KindSurgery, list[LayerPlan]] = {}
    for layer in plan.layers:
        if layer.name not in called:
            groups.setdefault(surgery_of(layer.kind), []).append(layer)
    return groups


def _check(
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    plan: Plan,
    called: Mapping[str, Tensor],
) -> None:
    """Refuse, before anything is changed, what cannot be done."""
    for layer in plan.layers:
        surgery = surgery_of(layer.kind)
        replaces = layer.kind.changes_weight and not surgery.resizes_others
        if layer.name in called:
            if replaces:
                raise UnsupportedLayerError(
                    f"layer {layer.name} is {CALLED}; leave it dense in the plan, or exclude it"
                )
            continue
        if layer.name not in modules:
            raise InputError(
                f"the plan names layer {layer.name}, which the network does not have; make a plan for this "
                "network"
            )
        if replaces and modules[layer.name] is model:
            raise InputError(
                "the network is a single layer; wrap it in nn.Sequential so that it can be replaced"
            )
        module = modules[layer.name]
        if replaces and isinstance(module, StandIn):
            raise InputError(
                f"layer {layer.name} is a {type(module).__name__} already, which a dense layer "
                "became; give the dense network (merge(model) makes one of a compressed one)"
            )
        surgery.check(layer, module)
    changed = {layer.kind.name for layer in plan.changed}
    # Neighbours of a layer that loses channels change too, under the feet of a kind that replaces them.
    resizing = {layer.kind.name for layer in plan.changed if surgery_of(layer.kind).resizes_others}
    if resizing and changed - resizing:
        raise InputError(
            f"a plan with {min(resizing)} layers cannot have {' or '.join(sorted(changed - resizing))} ones "
            "too; make two plans"
        )


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
    for report in _by_weights_(model, replace(plan, layers=rest), {}):
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
    reports = _by_weights_(model, plan, {**moments, **centred})
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


def called_as_functions(model: nn.Module, plan: Plan) -> dict[str, Tensor]:
    """Layers of `plan` that are no module of the network but a parameter used in a function call, with it."""
    modules = set()
    for name, module in model.named_modules():
        if isinstance(module._parameters.get("weight"), Tensor):
            modules.add(name)
    parameters = dict(model.named_parameters())
    called: dict[str, Tensor] = {}
    for layer in plan.layers:
        parameter = parameters.get(layer.name, parameters.get(f"{layer.name}.weight"))
        # A plan may name the parameter itself, or that of which it is the `weight`.
        if parameter is not None and layer.name not in modules:
            called[layer.name] = parameter
    return called


def kept_parameters(model: nn.Module) -> int:
    """Weights and biases of all layers; of masked ones those that are kept."""
    dropped = sum(dropped_weights(module) for module in model.modules())
    return sum(parameter.numel() for parameter in model.parameters()) - dropped


def _reader(layer: LayerPlan, module: nn.Module | None) -> Layer | None:
    """What says which patches a layer's weights are made for; None where its weight alone does."""
    if not layer.kind.made_for_data or not isinstance(module, (nn.Conv2d, nn.Linear)):
        return None
    return surgery_of(layer.kind).reads(layer, module)


__all__ = [
    "LayerReport",
    "build_",
    "called_as_functions",
    "compress_",
    "compress_by_weights_",
    "compress_on_data_",
    "compress_on_moments_",
    "kept_parameters",
]
