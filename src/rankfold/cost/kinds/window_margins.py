"""Window layers whose margins have matrices of their own: one stored matrix for each part of the plane."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np

from rankfold.cost.kinds.kind import AnyMapping, KindCost
from rankfold.cost.kinds.window import FAMILY
from rankfold.cost.kinds.window import PART as WINDOW
from rankfold.mapping import ArraySpec, Mapping
from rankfold.mapping.parts import PartsMapping
from rankfold.mapping.window_cover import part_shape
from rankfold.plan.kinds import LayerKind, WindowMarginsLayer
from rankfold.plan.layer import LayerPlan
from rankfold.workload import ConvShape


class WindowMarginsCost(KindCost):
    """Each part as a window layer of its own; what is counted is added up."""

    family = FAMILY

    def mapping(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> PartsMapping:
        """The matrix of each part, once for each of its windows."""
        kind = cast(WindowMarginsLayer, entry.kind)
        kind.check_plane(shape)
        stages: list[Mapping] = []
        for part in kind.parts:
            own = replace(entry, kind=part.layer)
            stages += WINDOW.mapping(part_shape(shape, part.place), array, own, None).stages
        return PartsMapping(tuple(stages))

    def has_published(self, shape: ConvShape, kind: LayerKind) -> bool:
        """Only where the parts fill the plane without padding, which is another one mostly."""
        return cast(WindowMarginsLayer, kind).fits(shape)

    def parameters(self, shape: ConvShape, kind: LayerKind, mapping: AnyMapping) -> int:
        """Those of all parts."""
        parts = zip(cast(WindowMarginsLayer, kind).parts, mapping.stages, strict=True)
        return sum(WINDOW.parameters(shape, part.layer, stage) for part, stage in parts)

    def row_circuits(self, kind: LayerKind) -> tuple[str, ...]:
        """Those of each part."""
        circuits: list[str] = []
        for part in cast(WindowMarginsLayer, kind).parts:
            circuits += WINDOW.row_circuits(part.layer)
        return tuple(circuits)

    def to_json(self, kind: LayerKind, parameters: int, stages: list[dict[str, Any]]) -> dict[str, Any]:
        """The parts, their weights and their matrices."""
        parts = []
        for part in cast(WindowMarginsLayer, kind).parts:
            content: dict[str, Any] = {
                "corner": list(part.corner),
                "size": list(part.size),
                "window": list(part.window),
            }
            if part.rows is not None:
                content["rows"] = part.rows
            parts.append(content)
        return {"window_margins": {"parts": parts, "parameters": parameters, "stages": stages}}


PART = WindowMarginsCost()
