"""What each layer of a network may become, with its costs and the loss predicted from calibration data."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from torch import nn

from rankfold.planning.exact import LayerChoices
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.layer_losses import dense_weight
from rankfold.planning.layer_runners import LayerRunner, LayerThreads, studied_inputs
from rankfold.planning.layer_work import LayerWork
from rankfold.planning.statistics import LayerStatistics
from rankfold.progress import Progress


def layer_choices(
    slots: Sequence[LayerSlot],
    model: nn.Module,
    known: LayerStatistics,
    costing: Costing,
    budgeted: Sequence[str],
    *,
    progress: Progress,
    threads: int,
    runner: LayerRunner | None = None,
) -> tuple[LayerChoices, ...]:
    """The candidates of every layer that an optimum may need, with their losses.

    Args:
        slots: the layers.
        model: the dense network.
        known: what calibration found of the layers that may be compressed.
        costing: prices what they may become.
        budgeted: the quantities that budgets are kept on, or that are to be small.
        progress: hears of each layer that is ready.
        threads: layers at a time, each on one thread; fewer where they are so wide that they would take more
            than 2 GiB together.
        runner: finds the layers elsewhere, such as `cluster.RayLayers`; None: threads of this process do.
    """

    def work(slot: LayerSlot) -> LayerWork:
        weight = None
        if studied_inputs(slot):
            weight = dense_weight(model.get_submodule(slot.name))
        return LayerWork(slot, weight, known.of(slot.name), costing, tuple(budgeted))

    # What takes longest begins first, so that all threads end at much the same time.
    # The factorisations of a layer grow with the cube of its n inputs.
    order = sorted(slots, key=studied_inputs, reverse=True)
    choices: dict[str, LayerChoices] = {}
    with closing((runner or LayerThreads(threads))(work, order)) as found:
        for layer in found:
            choices[layer.name] = layer
            progress.advance()
    return tuple(choices[slot.name] for slot in slots)
