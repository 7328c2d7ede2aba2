"""Channels between a layer and the only one that reads them, found in a network and put in order.

A channel that the reader does not read need not be computed: nothing else in the network depends on it. The
order in which the reader can do without them comes from its own inputs and from what errors of its outputs
cost; both layers then offer the same first ones, whose numbers make up the choice (`exact.linked`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from torch import Tensor, nn

from rankfold.calibration.importance import with_floor
from rankfold.calibration.readers import sole_readers
from rankfold.calibration.samples import Inputs
from rankfold.lowrank.channels import channel_order
from rankfold.lowrank.regression import RIDGE, with_ridge
from rankfold.planning.exact.slots import Channels, LayerSlot
from rankfold.planning.kinds import uses_channels
from rankfold.planning.kinds.channel_counts import channel_counts, counts_between
from rankfold.planning.statistics import LayerStatistics


def with_channels(
    slots: Sequence[LayerSlot], model: nn.Module, batches: Iterable[Inputs]
) -> tuple[LayerSlot, ...]:
    """The layers with the channels of which there may be fewer, in no order yet.

    Depthwise convolutions between two layers have as many channels as are left there. Other layers with
    groups keep theirs, and all do where rounding counts. A layer in the middle of a chain may read fewer and
    give fewer.

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
    for chain in _chains(open_slots, readers):
        first, last = open_slots[chain[0]], open_slots[chain[-1]]
        if any(open_slots[name].is_depthwise for name in chain):
            counts = counts_between(first.shape.m)
        else:
            counts = channel_counts(first, last)
        for name, reader in pairwise(chain):
            if counts:
                given[name] = read[reader] = Channels(reader, counts)
    return _with(slots, given, read)


def _chains(slots: Mapping[str, LayerSlot], readers: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """A layer, the depthwise convolutions behind it, and the one that reads the last of these; in the order
    of the network. The first may be depthwise itself, where what it reads keeps all its channels.
    """
    behind = set()  # the depthwise ones that some chain goes through
    for name in readers:
        chain = [name]
        while chain[-1] in readers and (len(chain) == 1 or slots[chain[-1]].is_depthwise):
            chain.append(readers[chain[-1]])
        if name in behind or slots[chain[-1]].is_depthwise:
            continue
        behind.update(chain[1:-1])
        yield tuple(chain)


def in_order(slots: Sequence[LayerSlot], model: nn.Module, known: LayerStatistics) -> tuple[LayerSlot, ...]:
    """The layers with their channels in the order in which the reader can do without them.

    Args:
        slots: those of `with_channels`.
        model: the dense network.
        known: what calibration found of the readers.
    """
    given: dict[str, Channels] = {}
    read: dict[str, Channels] = {}
    # From the last layer to the first: what a depthwise one reads, its reader has put in order.
    for slot in reversed(slots):
        if slot.given is not None:
            order = read[slot.given.reader].order
            given[slot.name] = replace(slot.given, order=order)
        if slot.read is not None and slot.is_depthwise:
            read[slot.name] = replace(slot.read, order=given[slot.name].order)
        elif slot.read is not None:
            read[slot.name] = _ordered(slot.read, model, known)
    return _with(slots, given, read)


def _with(
    slots: Sequence[LayerSlot], given: Mapping[str, Channels], read: Mapping[str, Channels]
) -> tuple[LayerSlot, ...]:
    return tuple(replace(slot, given=given.get(slot.name), read=read.get(slot.name)) for slot in slots)


def _may_be_trimmed(slot: LayerSlot) -> bool:
    """Whether a layer may give or read fewer channels."""
    if not slot.one_plane or not (slot.is_depthwise or (not slot.why_dense and slot.shape.groups == 1)):
        return False
    return uses_channels(slot)


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
