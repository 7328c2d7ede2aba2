"""Layers whose outputs share a support: as many as there are supports of the layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from rankfold.plan import LayerPlan, SupportLayer
from rankfold.plan.kinds import LayerKind
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.kinds.kind import ChosenSupport, WeightCandidates
from rankfold.planning.kinds.study import LayerStudy

MAPPING = "sdk"  # supports save rows under it, whichever of its windows is chosen


class SupportCandidates(WeightCandidates):
    """The best weight on the support."""

    def entries(self, slot: LayerSlot, support: ChosenSupport | None) -> Iterator[LayerPlan]:
        """The layer on the support; without one there is nothing to keep."""
        if support is None:
            return
        kind = SupportLayer(support.entries, support=support.text)
        yield replace(slot.entry, kind=kind, mapping=MAPPING)

    def replacement(self, kind: LayerKind, study: LayerStudy) -> np.ndarray:
        """(m, C_in/G, kh, kw) the exact refit on the support."""
        return study.fitted(kind.known_support).weight


PART = SupportCandidates()
