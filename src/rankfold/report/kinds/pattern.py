"""Pattern-pruned layers."""

from __future__ import annotations

from typing import cast

from rankfold.plan.kinds import GarosLayer, LayerKind, PatternLayer
from rankfold.plan.methods import (
    METHODS,
    Garos,
    Pairs,
    Pairs2023,
    Pairs2024,
    PatDNN,
    PatDNNByChannel,
    PatDNNByLayer,
    SharedSupport,
)
from rankfold.report.kinds.kind import KindPicture, PanelWords, positions_in_words
from rankfold.report.methods import RunMethod
from rankfold.report.palette import MOSS, OCHRE, PINK
from rankfold.workload import ConvShape

# By the kinds' variants, which are the names of the methods.
SHADES = {
    PatDNN.name: PINK,
    PatDNNByChannel.name: PINK,
    PatDNNByLayer.name: PINK,
    Pairs.name: OCHRE,
    Pairs2023.name: OCHRE,
    Pairs2024.name: OCHRE,
    Garos.name: OCHRE,
    SharedSupport.name: MOSS,
}
SUPPORT = "support"  # the family


class PatternPicture(KindPicture):
    """Named by who pruned them, and by the positions that are left."""

    families = (SUPPORT,)
    counts_steering = True

    def method(self, kind: LayerKind) -> RunMethod:
        """`PatDNN, e = 4`."""
        pruned = cast(PatternLayer, kind)
        variant = str(pruned.variant)
        return RunMethod(SHADES[variant], f"{METHODS[variant].title}, e = {pruned.entries}")

    def panel_words(self, kind: LayerKind, shape: ConvShape) -> PanelWords:
        """How many positions each kernel keeps."""
        pruned = cast(PatternLayer, kind)
        title = METHODS[str(pruned.variant)].title
        # Also where ideal steering is assumed, which no array that could be drawn has.
        kept = positions_in_words(shape, pruned.entries)
        if isinstance(pruned, GarosLayer):
            kept = f"patterns of several sizes, within the rows of {kept}"
        return PanelWords(
            title[0].upper() + title[1:],
            f"{kept}; a row that nothing in a tile needs is skipped",
        )

    def needs_saved_mask(self, kind: LayerKind) -> bool:
        """Each kernel has a pattern of its own, which no plan lists."""
        return True


PART = PatternPicture()
