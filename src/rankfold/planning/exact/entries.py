"""All that a layer may become: its entries in plans, before anything is known of their costs or losses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from rankfold.lowrank import full_rank
from rankfold.mapping import ArraySpec
from rankfold.plan import DENSE, LOW_RANK, PLAIN, PRUNED, SUPPORT, LayerPlan, Plan, support_to_text
from rankfold.plan.support import row_sparse_rank
from rankfold.plan.uniform import candidates as planned_layers
from rankfold.plan.uniform import check_plan_bits
from rankfold.workload import ConvShape, Network

GROUPS = (1, 2, 4, 8)
SHARES = (2, 4, 8, 16)  # r = m/2 ... m/16
SPARSE_ENTRIES = (2, 3, 4, 6)  # e of row-sparse low-rank layers
DENSE_MAPPINGS = ("best", "sdk", "im2col")
PAIR_MAPPINGS = ("best", "sdk")

Supports = Mapping[int, np.ndarray]  # e -> (C_in, kh*kw) booleans


@dataclass(frozen=True)
class LayerSlot:
    """One layer that a plan has to say something of.

    Attributes:
        shape: the layer.
        entry: the layer kept dense, with its bits, under its best mapping.
        why_dense: why it can only stay as it is, in words; empty where it may be compressed.
    """

    shape: ConvShape
    entry: LayerPlan
    why_dense: str

    @property
    def spatial(self) -> bool:
        """Whether its kernel has positions to choose from."""
        return not self.why_dense and self.shape.kernel != (1, 1)


def layer_slots(network: Network, bits: int | None = None, pointwise: bool = False) -> tuple[LayerSlot, ...]:
    """The layers of a network, in its order.

    The first convolution, the classifier and other fully connected layers, depthwise convolutions and layers that cannot be
    replaced stay dense, and so do 1x1 convolutions unless asked for.

    Args:
        network: the network.
        bits: of weights and inputs, 1 to 8, 8 in the first convolution and the classifier; None for float.
        pointwise: whether 1x1 convolutions may become low-rank.

    Raises:
        InputError: bits out of range.
    """
    check_plan_bits(bits)
    return tuple(
        LayerSlot(shape, LayerPlan(name, DENSE, mapping="best", weight_bits=width, input_bits=width, reason=why), why)
        for name, shape, why, width in planned_layers(network, bits, pointwise)
    )


def dense_network(network: Network, array: ArraySpec, slots: tuple[LayerSlot, ...]) -> Plan:
    """The plan that keeps every layer, each with its best mapping: what budgets in per cent are shares of."""
    return Plan(network.name, network.input, array, tuple(slot.entry for slot in slots))


def layer_entries(slot: LayerSlot, families: Iterable[Supports]) -> Iterator[LayerPlan]:
    """What the layer may become: dense under several mappings, every (g, r), every support, and pairs on some of these.

    Args:
        slot: the layer.
        families: supports of each number of positions, in each way that they were chosen; none for a layer that has no positions
            to choose from.
    """
    for mapping in DENSE_MAPPINGS:
        yield replace(slot.entry, mapping=mapping)
    if slot.why_dense:
        return
    shape = slot.shape
    pairs = list(_pairs(shape))
    for groups, rank in pairs:
        pair = replace(slot.entry, kind=LOW_RANK, groups=groups, rank=rank)
        for mapping in PAIR_MAPPINGS:
            yield replace(pair, mapping=mapping)
    for supports in families:
        for entries, support in sorted(supports.items()):
            if entries >= support.shape[1]:
                continue
            text = support_to_text(support)
            yield replace(slot.entry, kind=PRUNED, pruning=SUPPORT, steering=PLAIN, entries=entries, support=text, mapping="sdk")
            if entries not in SPARSE_ENTRIES:
                continue
            for groups, rank in pairs:
                if rank <= row_sparse_rank(shape, groups, entries):
                    yield replace(
                        slot.entry, kind=LOW_RANK, groups=groups, rank=rank, entries=entries, support=text, mapping="sdk"
                    )


def _pairs(shape: ConvShape) -> Iterator[tuple[int, int]]:
    """The (g, r) of the grid that the layer can have."""
    channels, outputs = shape.in_channels // shape.groups, shape.m // shape.groups
    for groups in GROUPS:
        for share in SHARES:
            if channels % groups == 0 and outputs % share == 0 and outputs // share <= full_rank(shape, groups):
                yield groups, outputs // share
