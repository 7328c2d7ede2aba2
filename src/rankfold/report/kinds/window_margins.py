"""Window layers whose margins have matrices of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from rankfold.cost import planned_mapping
from rankfold.mapping.window_cover import part_shape
from rankfold.plan.kinds import LayerKind, WindowMarginsLayer
from rankfold.plan.layer import LayerPlan
from rankfold.report.arrays.panel import Panel
from rankfold.report.kinds.kind import KindPicture
from rankfold.report.kinds.window import PART as WINDOW
from rankfold.report.methods import RunMethod
from rankfold.workload import ConvShape

if TYPE_CHECKING:
    import numpy as np

    from rankfold.mapping import ArraySpec


class WindowMarginsPicture(KindPicture):
    """Counted as window layers, each part with a picture of its own."""

    families = WINDOW.families

    def method(self, kind: LayerKind) -> RunMethod:
        """As window layers: one setting gives both."""
        return WINDOW.method(kind)

    def panels(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> tuple[Panel, ...]:
        """One for each part: where it lies, its window, and how many of the window's inputs are driven."""
        panels = []
        for part in cast(WindowMarginsLayer, entry.kind).parts:
            own = part_shape(shape, part.place)
            words = WINDOW.panel_words(part.layer, own)
            (top, left), (height, width) = part.corner, part.size
            title = f"{words.name}, {height}x{width} outputs from ({top}, {left}) on"
            mapping = planned_mapping(own, array, replace(entry, kind=part.layer), mask)
            panels.append(Panel(title, words.meaning, mapping, part.corner))
        return tuple(panels)

    def interest(self, kind: LayerKind) -> int:
        """That of the part with the largest windows."""
        return max(WINDOW.interest(part.layer) for part in cast(WindowMarginsLayer, kind).parts)


PART = WindowMarginsPicture()
