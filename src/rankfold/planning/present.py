"""A network that follows a plan already, as planning looks at it: every layer a convolution."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from rankfold.errors import InputError
from rankfold.mapping.window_cover import AnyWindow
from rankfold.nn.present import PresentConv2d
from rankfold.nn.swap import swap_
from rankfold.plan import LayerPlan, Plan
from rankfold.plan.kinds import has_part
from rankfold.planning.exact.widths import BitChoices
from rankfold.planning.kinds import STEP, candidates_of
from rankfold.surgery.again import going_on
from rankfold.surgery.kinds import surgery_of
from rankfold.workload import Network


def check_present(
    network: Network | None, present: Plan, *, layer_bits: BitChoices | None, max_drop: float | None
) -> None:
    """Refuse what goes with a dense network alone, and layers that no plan goes on from.

    Raises:
        InputError: either was given.
    """
    if network is None:
        raise InputError("network is missing: give the trace of the dense network, beside its present plan")
    if layer_bits is not None:
        raise InputError(
            "layer_bits are chosen for dense networks; a network that follows a plan keeps its bits"
        )
    if max_drop is not None:
        raise InputError(
            "max_drop is measured for plans of dense networks; give budgets beside a present plan"
        )
    for layer in present.changed:
        if not layer.kind.one_kernel and not has_part(layer.kind, STEP):
            raise InputError(
                f"layer {layer.name} of the present plan is {layer.kind.name}, and no plan goes on from such "
                "layers; give a network that has none"
            )


def seen_as_convolutions(model: nn.Module, present: Plan) -> nn.Module:
    """A copy of a network that computes the same, with convolutions again where something stands in for them.

    Those that one kernel computes have its weight, before rounding; others know the matrices of their windows
    (`PresentConv2d`).

    Args:
        model: the network, which follows the plan, quantised or not.
        present: the plan.

    Raises:
        InputError: the network does not have a layer of the plan.
    """
    view = copy.deepcopy(model)
    modules = dict(view.named_modules())
    seen: dict[nn.Module, nn.Module] = {}
    for layer in present.changed:
        if layer.name not in modules:
            raise InputError(
                f"the present plan names layer {layer.name}, which the network does not have; give the plan "
                "that it follows"
            )
        module = modules[layer.name]
        # Masked and quantised ones are convolutions as they are.
        if isinstance(module, nn.Conv2d):
            continue
        bare = going_on(module, layer.kind)
        if isinstance(bare, nn.Conv2d):
            seen[module] = PresentConv2d(module, bare)
        else:
            seen[module] = PresentConv2d(module, None, _matrices(layer, bare))
    swap_(view, seen)
    return view


def _matrices(layer: LayerPlan, bare: nn.Module) -> dict[AnyWindow, Tensor]:
    """The matrices of its windows, by these, of a layer that may become less; others need not say theirs."""
    surgery = surgery_of(layer.kind)
    if not surgery.goes_on(layer, bare):
        return {}
    windows = candidates_of(layer.kind).made_for(layer.kind)
    return dict(zip(windows, surgery.matrices(bare), strict=True))
