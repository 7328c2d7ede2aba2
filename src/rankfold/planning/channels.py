"""Channels between a layer and the only one that reads them, found in a network and put in order.

A channel that the reader does not read need not be computed: nothing else in the network depends on it. The
order in which the reader can do without them comes from its own inputs and from what errors of its outputs
cost; both layers then offer the same first ones, whose numbers make up the choice (`exact.linked`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from rankfold.calibration.importance import with_floor
from rankfold.calibration.readers import sole_readers
from rankfold.calibration.samples import Inputs
from rankfold.lowrank.channels import channel_order
from rankfold.lowrank.regression import RIDGE, with_ridge
from rankfold.planning.exact.slots import Channels, LayerSlot
from rankfold.planning.kinds import uses_channels
from rankfold.planning.kinds.channel_counts import channel_counts
from rankfold.planning.statistics import LayerStatistics


def with_channels(
    slots: Sequence[LayerSlot], model: nn.Module, batches: Iterable[Inputs]
) -> tuple[LayerSlot, ...]:
    """The layers with the channels of which there may be fewer, in no order yet.

    Layers with groups keep their channels, and all do where any may have other bits than its own. In chains
    each layer goes with one neighbour, the first pair first, as layers that depend on each other are joined
    for the choice.

    Args:
        slots: the layers.
        model: the dense network.
        batches: its inputs; the first image is used.
    """
    if any(slot.widths is not None for slot in slots):
        return tuple(slots)
    open_slots = {slot.name: slot for slot in slots if _may_be_trimmed(slot)}
    readers = sole_readers(model, batches, list(open_slots))
    given: dict[str, Channels] = {}
    read: dict[str, Channels] = {}
    for name, reader in readers.items():
        channels = Channels(reader, channel_counts(open_slots[name], open_slots[reader]))
        if channels.counts and name not in read:
            given[name] = read[reader] = channels
    return _with(slots, given, read)


def in_order(slots: Sequence[LayerSlot], model: nn.Module, known: LayerStatistics) -> tuple[LayerSlot, ...]:
    """The layers with their channels in the order in which the reader can do without them.

    Args:
        slots: those of `with_channels`.
        model: the dense network.
        known: what calibration found of the readers.
    """
    read = {slot.name: _ordered(slot.read, model, known) for slot in slots if slot.read is not None}
    given = {slot.name: read[slot.given.reader] for slot in slots if slot.given is not None}
    return _with(slots, given, read)


def _with(
    slots: Sequence[LayerSlot], given: Mapping[str, Channels], read: Mapping[str, Channels]
) -> tuple[LayerSlot, ...]:
    return tuple(replace(slot, given=given.get(slot.name), read=read.get(slot.name)) for slot in slots)


def _may_be_trimmed(slot: LayerSlot) -> bool:
    """Whether a layer may give or read fewer channels."""
    if slot.why_dense or not slot.one_plane:
        return False
    return slot.shape.groups == 1 and uses_channels(slot)


def _ordered(channels: Channels, model: nn.Module, known: LayerStatistics) -> Channels:
    """By what the reader loses without them on data."""
    weight = model.get_submodule(channels.reader).weight
    assert isinstance(weight, Tensor)  # slots of other modules stay dense
    # Without means, as surgery makes the weights: trimmed layers bring a bias.
    second = known.sensitivities[channels.reader].weighed_moments.centred().second[0]
    moments = with_ridge(second, RIDGE)
    importance = with_floor(known.sensitivities[channels.reader].gradient)[0]
    dense = weight.detach().cpu().double().numpy()
    order = channel_order(dense, moments, importance, fewest=min(channels.counts))
    return replace(channels, order=order)
