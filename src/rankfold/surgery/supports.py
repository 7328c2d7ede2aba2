"""The kernel positions that a compressed network keeps, read back into its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from rankfold.errors import InputError
from rankfold.nn.masked import masks_of
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import Plan
from rankfold.surgery.kinds import surgery_of


def with_supports(plan: Plan, model: nn.Module) -> Plan:
    """The plan with the positions that the layers of a compressed network keep.

    Args:
        plan: the plan that it follows.
        model: the network after `compress_`, before or after `quantise_`.

    Raises:
        InputError: a layer of the network is not what the plan says.
    """
    modules = dict(model.named_modules())
    supports: dict[str, str] = {}
    for layer in plan.layers:
        if layer.kind.shares_support:
            supports[layer.name] = _text(layer, modules)
    return plan.with_supports(supports)


def filled_in(plan: Plan, model: nn.Module) -> Plan:
    """The plan with all that it leaves to the network: supports, and the weights that masks keep.

    With it cycles and energy are counted at once.

    Args:
        plan: the plan that the network follows.
        model: the network after `compress_`, before or after `quantise_`.

    Raises:
        InputError: a layer of the network is not what the plan says.
    """
    known = {}
    if any(layer.kind.masked for layer in plan.layers):
        known = masks_of(model)
    return replace(with_supports(plan, model), masks=known)


def check_supports(plan: Plan, model: nn.Module) -> None:
    """Refuse weights that keep other positions, or are of other channels, than the plan says: its arrays
    would not hold them.

    Raises:
        InputError: they do, or are; the message names the layer.
    """
    modules = dict(model.named_modules())
    for layer in plan.layers:
        surgery_of(layer.kind).check_channels(layer, modules)
        known = layer.kind.known_support
        if known is not None and known != _text(layer, modules):
            raise InputError(
                f"layer {layer.name}: its weights keep other kernel positions or channels than the support "
                "in the plan says; take both from one run"
            )


def _text(layer: LayerPlan, modules: Mapping[str, nn.Module]) -> str:
    found = surgery_of(layer.kind).support(layer, modules)
    if found is None:
        raise InputError(
            f"layer {layer.name} keeps all kernel positions and channels in the network, not those of a "
            "support as the plan says"
        )
    return found
