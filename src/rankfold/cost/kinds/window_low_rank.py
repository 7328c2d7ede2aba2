"""Low-rank pairs of a window's matrix: two dense matrices, each run once for each window."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from rankfold.cost.kinds.kind import AnyMapping, KindCost
from rankfold.cost.kinds.window import FAMILY, driven_inputs
from rankfold.mapping import ArraySpec
from rankfold.mapping.window_low_rank import map_window_low_rank
from rankfold.mapping.window_matrix import window_fits
from rankfold.plan.kinds import LayerKind, WindowLowRankLayer
from rankfold.plan.layer import LayerPlan
from rankfold.workload import ConvShape


class WindowLowRankCost(KindCost):
    """Its cycles are windows * (ceil(rows/R) * ceil(q/C) + ceil(q/R) * ceil(N m/C)), whichever rows those
    are.
    """

    family = FAMILY

    def mapping(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> AnyMapping:
        """Both matrices, once for each window of the plane."""
        kind = cast(WindowLowRankLayer, entry.kind)
        driven = driven_inputs(shape, kind.window_layer)
        return map_window_low_rank(shape, array, kind.window, kind.rank, driven)

    def has_published(self, shape: ConvShape, kind: LayerKind) -> bool:
        """Where the plane without padding has room for the window."""
        return window_fits(shape, cast(WindowLowRankLayer, kind).window)

    def parameters(self, shape: ConvShape, kind: LayerKind, mapping: AnyMapping) -> int:
        """R, of the inputs that are driven, and L."""
        first, _ = mapping.stages
        driven = first.shape.in_channels * first.shape.kernel[0] * first.shape.kernel[1]
        if first.support is not None:
            driven = int(first.support.sum())
        return cast(WindowLowRankLayer, kind).stored(shape, driven)

    def row_circuits(self, kind: LayerKind) -> tuple[str, ...]:
        """Circuits that choose the rows of the first stage, where not all inputs of a window are driven."""
        if kind.shares_support:
            return "rows", "none"
        return "none", "none"

    def input_signs(self, kind: LayerKind, signed: bool | None) -> tuple[bool | None, ...]:
        """The second stage reads sums of either sign, whatever the layer reads."""
        return signed, True

    def to_json(self, kind: LayerKind, parameters: int, stages: list[dict[str, Any]]) -> dict[str, Any]:
        """The window, its rank, its rows, its weights and its stages."""
        pair = cast(WindowLowRankLayer, kind)
        content: dict[str, Any] = {"size": list(pair.window), "rank": pair.rank, "parameters": parameters}
        if pair.rows is not None:
            content["rows"] = pair.rows
        content["stages"] = stages
        return {"window_low_rank": content}


PART = WindowLowRankCost()
