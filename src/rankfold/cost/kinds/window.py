"""Window layers: one dense matrix of N m columns, whose rows are the inputs that are driven."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np

from rankfold.cost.kinds.kind import AnyMapping, KindCost
from rankfold.mapping import ArraySpec, map_layer
from rankfold.mapping.window_matrix import WindowMatrix, window_fits, window_shape
from rankfold.plan.kinds import LayerKind, WindowLayer
from rankfold.plan.layer import LayerPlan
from rankfold.plan.support import text_to_support
from rankfold.workload import ConvShape

FAMILY = "windows"  # of all layers whose windows are their own


class WindowCost(KindCost):
    """As a convolution of the window's own shape with a support.

    Its cycles are windows * ceil(rows/R) * ceil(N m/C), whichever rows they are: tiles are cut row by row.
    """

    # What is compared are the mappings of the layers beside them, which may be dense.
    family = FAMILY

    def mapping(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> AnyMapping:
        """The matrix of a window, once for each window of the plane."""
        kind = cast(WindowLayer, entry.kind)
        whole = window_shape(shape, kind.window)
        mapping = map_layer(whole, array, entry.mapping, driven_inputs(shape, kind))
        return replace(mapping, matrix=WindowMatrix(shape, kind.window))

    def has_published(self, shape: ConvShape, kind: LayerKind) -> bool:
        """Where the plane without padding has room for the window."""
        return window_fits(shape, cast(WindowLayer, kind).window)

    def parameters(self, shape: ConvShape, kind: LayerKind, mapping: AnyMapping) -> int:
        """N m / G weights for each input that is driven."""
        (stage,) = mapping.stages
        whole = stage.shape
        support = stage.support
        if support is None:
            return whole.parameters
        return int(support.sum()) * (whole.m // whole.groups)

    def row_circuits(self, kind: LayerKind) -> tuple[str, ...]:
        """Circuits that choose the rows, where not all inputs of a window are driven."""
        if kind.shares_support:
            return ("rows",)
        return ("none",)

    def to_json(self, kind: LayerKind, parameters: int, stages: list[dict[str, Any]]) -> dict[str, Any]:
        """The window, its rows and its weights."""
        window = cast(WindowLayer, kind)
        content: dict[str, Any] = {"size": list(window.window), "parameters": parameters}
        if window.rows is not None:
            content["rows"] = window.rows
        return {"window_layer": content, **super().to_json(kind, parameters, stages)}


def driven_inputs(shape: ConvShape, kind: WindowLayer) -> np.ndarray | None:
    """(C_in, ph*pw) booleans, the inputs of a window of a layer that are driven; None: all."""
    if kind.rows is None:
        return None
    whole = window_shape(shape, kind.window)
    if kind.support is not None:
        return text_to_support(kind.support, whole)
    # Which ones is chosen on data, and makes no difference to any count: those that come first stand in.
    first = np.zeros((whole.groups, whole.n), bool)
    first[:, : kind.rows] = True
    return first.reshape(whole.in_channels, -1)


PART = WindowCost()
