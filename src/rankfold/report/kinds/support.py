"""Layers whose outputs all keep the same kernel positions."""

from __future__ import annotations

from rankfold.plan.kinds import LayerKind
from rankfold.report.kinds.pattern import PatternPicture


class SupportPicture(PatternPicture):
    """As other pruned layers, but for the positions, which plans say once they are chosen."""

    def needs_saved_mask(self, kind: LayerKind) -> bool:
        """Only while the positions are open."""
        # Masks of shared positions follow from the plan of a finished run.
        return kind.known_support is None


PART = SupportPicture()
