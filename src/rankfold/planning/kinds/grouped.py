"""Grouped convolutions in the place of dense ones: every number of blocks that divides the channels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np

from rankfold.lowrank.grouped import choose_grouping, refit_grouped
from rankfold.plan import GroupedLayer, LayerPlan
from rankfold.plan.kinds import LayerKind
from rankfold.plan.members import members_to_text, text_to_members
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.kinds.kind import ChosenSupport, WeightCandidates
from rankfold.planning.kinds.study import PIXEL, LayerStudy

MOST_BLOCKS = 8
MAPPINGS = ("best", "sdk")


class GroupedCandidates(WeightCandidates):
    """The best weight on the blocks that lose least."""

    on_supports = False

    def entries(self, slot: LayerSlot, support: ChosenSupport | None) -> Iterator[LayerPlan]:
        """Each number of blocks under each mapping; they are no support."""
        if support is not None:
            return
        shape = slot.shape
        channels = math.gcd(shape.in_channels, shape.m) // shape.groups
        for blocks in range(2, MOST_BLOCKS + 1):
            if channels % blocks == 0:
                for mapping in MAPPINGS:
                    yield replace(slot.entry, kind=GroupedLayer(blocks), mapping=mapping)

    def settled(self, kind: LayerKind, study: LayerStudy) -> LayerKind:
        """With the channels of each block, chosen by what errors of outputs cost."""
        # Here, not above: it brings torch, which candidates and their costs do without.
        from rankfold.surgery.grouped_weight import output_shares

        grouped = cast(GroupedLayer, kind)
        shares = output_shares(study.window(PIXEL).sensitivity.gradient)
        groups = study.slot.shape.groups
        found = choose_grouping(
            study.weight, groups, grouped.blocks, importance=shares, problems=study.regressions
        )
        return grouped.with_support(members_to_text(found))

    def replacement(self, kind: LayerKind, study: LayerStudy) -> np.ndarray:
        """(m, C_in/G, kh, kw) the exact refit on the blocks, zero between them."""
        grouped = cast(GroupedLayer, kind)
        assert grouped.members is not None  # settled
        grouping = text_to_members(grouped.members, study.slot.shape, grouped.blocks)
        groups = study.slot.shape.groups
        return refit_grouped(study.weight, groups, grouping, problems=study.regressions)


PART = GroupedCandidates()
