"""Layers of a network that is compressed and trained already become less, from the weights they have now."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import nn

from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.calibration.correction import following_norms
from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.quantisers import calibrate_
from rankfold.calibration.samples import Inputs
from rankfold.nn.plain import StandIn
from rankfold.nn.quantised import without_quantisers
from rankfold.nn.swap import swap_
from rankfold.plan.kinds import LayerKind
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import Plan
from rankfold.surgery.compress import LayerReport, compress_on_moments_
from rankfold.surgery.kinds import surgery_of
from rankfold.surgery.quantise import insert_quantisers_


def going_on(module: nn.Module, kind: LayerKind) -> nn.Module:
    """A copy of what a layer became, as it can become something else: without quantisers, and a plain
    convolution where it computes what one computes.

    Args:
        module: what it became, quantised or not.
        kind: the same in the plan.
    """
    bare = without_quantisers(copy.deepcopy(module))
    if kind.one_kernel and isinstance(bare, StandIn):
        return bare.to_dense()
    return bare


def changed_layers(present: Plan, plan: Plan) -> tuple[LayerPlan, ...]:
    """The layers of a plan that are something else in the present one."""
    return tuple(layer for layer in plan.layers if layer.kind != present.layer(layer.name).kind)


def compress_again_(
    model: nn.Module,
    present: Plan,
    plan: Plan,
    moments: Mapping[str, PatchMoments],
    batches: Iterable[Inputs],
) -> tuple[LayerReport, ...]:
    """Make those layers that a new plan changes from what they are now, and leave all others untouched.

    Weights, biases and step sizes of layers that stay are the same to the last bit. Layers that change get
    quantisers with steps for the network as it is then, and every batch norm is estimated anew.

    Args:
        model: the network, which follows the present plan, quantised where that has bits; it may be trained.
        present: that plan, with signs filled in.
        plan: the new one, likewise.
        moments: of the inputs of layers, in the network as it is now; those of layers that stay do not count.
        batches: inputs of the model, on its device, to be gone through again and again; batches as large as
            in training serve batch norm best.

    Returns:
        One report for each layer that changed; errors are relative to what it was at last.

    Raises:
        InputError: a layer cannot become what the new plan says from what it is.
        UnsupportedLayerError: likewise.
    """
    changed = changed_layers(present, plan)
    if not changed:
        return ()
    bare: dict[nn.Module, nn.Module] = {}
    for layer in changed:
        module = model.get_submodule(layer.name)
        bare[module] = going_on(module, present.layer(layer.name).kind)
    swap_(model, bare)
    alone = replace(plan, layers=changed)
    norms = following_norms(model, batches, [layer.name for layer in changed])
    known = {layer.name: moments[layer.name] for layer in changed if layer.name in moments}
    reports = compress_on_moments_(model, alone, known, norms)
    # As in `quantise_`: first what inputs are, then their steps, then what rounding makes of them.
    reestimate_batch_norm_(model, batches)
    # What is skipped has no part to quantise.
    quantised = [layer for layer in changed if layer.quantised]
    parts = [part.name for layer in quantised for part in surgery_of(layer.kind).parts(layer)]
    if parts:
        insert_quantisers_(model, alone)
        calibrate_(model, batches, parts)
        reestimate_batch_norm_(model, batches)
    return reports
