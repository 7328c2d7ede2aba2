"""A layer that stays as it is, under several mappings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from rankfold.plan import LayerPlan
from rankfold.plan.kinds import LayerKind
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.kinds.kind import ChosenSupport, WeightCandidates
from rankfold.planning.kinds.study import LayerStudy

# Of equal cycles another than the best one may need fewer arrays, which is a budget of its own.
MAPPINGS = ("best", "sdk", "im2col")


class DenseCandidates(WeightCandidates):
    """The layer's own weight: what it costs depends on the mapping."""

    on_supports = False

    def entries(self, slot: LayerSlot, support: ChosenSupport | None) -> Iterator[LayerPlan]:
        """The layer under each mapping; it has no support."""
        if support is not None:
            return
        for mapping in MAPPINGS:
            yield replace(slot.entry, mapping=mapping)

    def replacement(self, kind: LayerKind, study: LayerStudy) -> np.ndarray:
        """(m, C_in/G, kh, kw) its own weight."""
        return study.weight


PART = DenseCandidates()
