"""Surgery on weights: every layer becomes what the plan says, made from its weight, or for known moments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from rankfold.calibration.moments import PatchMoments
from rankfold.errors import InputError, UnsupportedLayerError
from rankfold.nn.plain import StandIn
from rankfold.nn.swap import swap_
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import Plan
from rankfold.surgery.kinds import Replacement, surgery_of
from rankfold.surgery.kinds.kind import KindSurgery, Masks
from rankfold.surgery.layer_report import LayerReport, kept_parameters, left_alone, report
from rankfold.surgery.undo import unchanged_on_error
from rankfold.workload.tracing.torch_layers import CALLED


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
        return by_weights_(model, plan, moments or {})


def by_weights_(
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
            reports.append(left_alone(layer, called[layer.name].numel()))
            continue
        made = _replacement(layer, modules[layer.name], moments, masks)
        if made.module is not modules[layer.name]:
            replaced[modules[layer.name]] = made.module
        reports.append(report(layer, made, before[layer.name], moments.get(layer.name)))
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
