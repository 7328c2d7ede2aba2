"""Low-rank pairs: every (g, r) of a grid, with all kernel positions or on a support."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from rankfold.lowrank import full_rank
from rankfold.lowrank.blocks import SWEEPS, Block, joined
from rankfold.lowrank.data_aware import balanced_blocks
from rankfold.plan import LayerPlan, LowRankLayer
from rankfold.plan.kinds import LayerKind
from rankfold.plan.support import row_sparse_rank
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.kinds.kind import ChosenSupport, WeightCandidates
from rankfold.planning.kinds.stored import Stored, StoredPair
from rankfold.planning.kinds.study import LayerStudy
from rankfold.workload import ConvShape

if TYPE_CHECKING:
    from rankfold.calibration.sensitivity import LayerSensitivity

# Powers of two, which divide most numbers of channels.
GROUPS = (1, 2, 4, 8)
SHARES = (2, 4, 8, 16)  # r = m/2 ... m/16
SPARSE_ENTRIES = (2, 3, 4, 6)  # e of pairs on supports
MAPPINGS = ("best", "sdk")
MAPPING_ON_SUPPORT = "sdk"
# Inputs of a convolution group above which pairs of g > 1 blocks are judged before their factors have
# settled. The ranking needs no more sweeps over the blocks, and the chosen ones are made anew.
WIDE, WIDE_SWEEPS = 1152, 3


class LowRankCandidates(WeightCandidates):
    """Pairs of the grid that fit the layer."""

    stages = 2
    on_linear = True

    def entries(self, slot: LayerSlot, support: ChosenSupport | None) -> Iterator[LayerPlan]:
        """Every (g, r) under each mapping; on a support those whose rank it can have."""
        if support is None:
            for groups, rank in _grid(slot.shape):
                pair = LowRankLayer(groups, rank)
                for mapping in MAPPINGS:
                    yield replace(slot.entry, kind=pair, mapping=mapping)
            return
        if support.entries not in SPARSE_ENTRIES:
            return
        for groups, rank in _grid(slot.shape):
            if rank > row_sparse_rank(slot.shape, groups, support.entries):
                continue
            pair = LowRankLayer(groups, rank, support.entries, support.text)
            yield replace(slot.entry, kind=pair, mapping=MAPPING_ON_SUPPORT)

    def replacement(self, kind: LayerKind, study: LayerStudy) -> np.ndarray:
        """(m, C_in/G, kh, kw) the product of factors that are made for the layer's output."""
        products = [joined(blocks) for blocks in _solved(cast(LowRankLayer, kind), study)]  # (m/G, n) each
        return np.concatenate(products).reshape(study.weight.shape)

    def stored(self, kind: LayerKind, study: LayerStudy, sensitivity: LayerSensitivity) -> tuple[Stored, ...]:
        """R_ and L of each block, with equal scales, as surgery makes them."""
        pair = cast(LowRankLayer, kind)
        conv_groups = study.slot.shape.groups
        supports = study.fitted(pair.support).support.reshape(conv_groups, -1)  # (G, n)
        outputs, rows = [], []
        for blocks, kept in zip(_solved(pair, study), supports, strict=True):
            left, right = balanced_blocks(blocks, kept)
            outputs.append(left)
            rows.append(right)
        return (StoredPair(study.weight, sensitivity, np.stack(rows), np.stack(outputs)),)


def _solved(pair: LowRankLayer, study: LayerStudy) -> list[list[Block]]:
    """The blocks of each convolution group."""
    sweeps = SWEEPS
    if study.inputs > WIDE:
        sweeps = WIDE_SWEEPS
    return study.solved_blocks(pair.groups, pair.support, pair.rank, sweeps)


def _grid(shape: ConvShape) -> Iterator[tuple[int, int]]:
    """The (g, r) of the grid that the layer can have."""
    channels = shape.in_channels // shape.groups
    outputs = shape.m // shape.groups
    for groups in GROUPS:
        if channels % groups:
            continue
        for share in SHARES:
            rank = outputs // share
            if outputs % share:
                continue
            if rank <= full_rank(shape, groups):
                yield groups, rank


PART = LowRankCandidates()
