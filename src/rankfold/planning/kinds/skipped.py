"""Skipped layers, where a network can do without them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rankfold.plan import LayerPlan, SkippedLayer
from rankfold.plan.kinds import LayerKind
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.kinds.kind import ChosenSupport, KindCandidates
from rankfold.planning.kinds.stored import Stored
from rankfold.planning.kinds.study import LayerStudy

if TYPE_CHECKING:
    from rankfold.calibration.sensitivity import LayerSensitivity


class SkippedCandidates(KindCandidates):
    """Nothing in the place of a layer that some way through the network goes around."""

    on_supports = False
    on_bypasses = True
    on_unstudied = True

    def entries(self, slot: LayerSlot, support: ChosenSupport | None) -> Iterator[LayerPlan]:
        """It alone, under the one mapping that it has."""
        if support is None and slot.bypassed:
            kind = SkippedLayer()
            yield replace(slot.entry, kind=kind, mapping=kind.mapping_for("im2col"))

    def loss(self, kind: LayerKind, study: LayerStudy, sensitivity: LayerSensitivity) -> float:
        """That of its outputs where they become their means."""
        return study.skipping_loss

    def stored(self, kind: LayerKind, study: LayerStudy, sensitivity: LayerSensitivity) -> tuple[Stored, ...]:
        """Nothing that could be rounded."""
        return ()


PART = SkippedCandidates()
