"""Window layers whose margins have matrices of their own: one convolution for each part of the plane."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from rankfold.export.kinds.kind import KindWorkload
from rankfold.export.kinds.window import PART as WINDOW
from rankfold.mapping.window_cover import part_shape
from rankfold.plan.kinds import LayerKind, WindowMarginsLayer
from rankfold.workload import ConvShape


class WindowMarginsWorkload(KindWorkload):
    """The convolutions that compute the parts, named as the modules are."""

    side_by_side = True

    def executed(self, shape: ConvShape, kind: LayerKind) -> tuple[ConvShape, ...]:
        """The matrix of each part's windows, with all its rows."""
        shapes: list[ConvShape] = []
        for number, part in enumerate(cast(WindowMarginsLayer, kind).parts):
            own = replace(part_shape(shape, part.place), name=f"{shape.name}.parts.{number}")
            shapes += WINDOW.executed(own, part.layer)
        return tuple(shapes)

    def unsaid(self, kind: LayerKind) -> tuple[str, str]:
        """That only some inputs are driven."""
        if not kind.shares_support:
            return "", ""
        driven = [str(part.rows or "all") for part in cast(WindowMarginsLayer, kind).parts]
        return f"drives {' and '.join(driven)} inputs of its parts' windows", " that drives all"

    def supports(self, shape: ConvShape, kind: LayerKind) -> tuple[str, ...] | None:
        """The inputs that each part drives."""
        found: list[str] = []
        for part in cast(WindowMarginsLayer, kind).parts:
            own = WINDOW.supports(shape, part.layer)
            if own is None:
                return None
            found += own
        return tuple(found)


PART = WindowMarginsWorkload()
