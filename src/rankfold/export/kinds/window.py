"""Window layers: one convolution of the window's own kernel and stride."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from rankfold.export.kinds.kind import KindWorkload
from rankfold.mapping.window_matrix import window_shape
from rankfold.plan.kinds import LayerKind, WindowLayer
from rankfold.workload import ConvShape


class WindowWorkload(KindWorkload):
    """The convolution that computes all windows, named as the module is."""

    def executed(self, shape: ConvShape, kind: LayerKind) -> tuple[ConvShape, ...]:
        """The matrix of a window, with all its rows."""
        name = f"{shape.name}.matrix"
        whole = window_shape(shape, cast(WindowLayer, kind).window)
        return (replace(whole, name=name, weight=name),)

    def unsaid(self, kind: LayerKind) -> tuple[str, str]:
        """That only some inputs are driven."""
        rows = cast(WindowLayer, kind).rows
        if rows is None:
            return "", ""
        return f"drives {rows} inputs of a window", " that drives all"

    def supports(self, shape: ConvShape, kind: LayerKind) -> tuple[str, ...] | None:
        """The inputs that are driven."""
        window = cast(WindowLayer, kind)
        if window.rows is None:
            return ("",)
        if window.support is None:
            return None
        return (window.support,)


PART = WindowWorkload()
