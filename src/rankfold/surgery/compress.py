"""`compress_`: every layer becomes what the plan says, in place, and every layer is reported."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from rankfold.arguments import takes
from rankfold.calibration.outputs import OUTPUTS, OutputModel
from rankfold.calibration.samples import MOMENT_IMAGES, GivesBatches, Samples, planned_for
from rankfold.errors import InputError
from rankfold.lowrank import DECOMPOSITIONS
from rankfold.models.device import MODEL, device_of
from rankfold.models.finite import check_numbers
from rankfold.plan.plan import PLAN, Plan
from rankfold.surgery.by_weights import compress_by_weights_
from rankfold.surgery.layer_report import LayerReport
from rankfold.surgery.on_data import compress_on_data_

SVD, DATA, SEQUENTIAL = DECOMPOSITIONS


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
            a weight or buffer is NaN; there is no batch, or a layer never runs on them.
        UnsupportedLayerError: a layer has behaviour that its replacement would not carry over.
        MissingDependencyError: channels are to be chosen and torch-pruning is not installed.
    """
    if decomposition not in DECOMPOSITIONS:
        raise InputError(f"decomposition (={decomposition}) must be one of {', '.join(DECOMPOSITIONS)}")
    check_numbers(model.state_dict(), "the network")
    # Plans whose layers look at weights alone need no pass over the data.
    uses_data = any(layer.kind.made_for_data for layer in plan.layers)
    if data is None or decomposition == SVD or not uses_data:
        return compress_by_weights_(model, plan)
    samples = Samples(data, images, device_of(model), image=plan.one_image)
    with planned_for(plan):
        in_sequence = decomposition == SEQUENTIAL
        return compress_on_data_(model, plan, samples, sequential=in_sequence, outputs=outputs)
