"""Window layers: whole windows of the output plane, each computed from chosen inputs by one dense matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from rankfold.arguments import plain_numbers_
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, map_layer
from rankfold.mapping.window_matrix import check_window, window_box, window_cycles, window_shape
from rankfold.plan.kinds.kind import LayerKind
from rankfold.plan.support import PATTERN, check_support_words, is_within, text_to_support
from rankfold.workload import ConvShape
from rankfold.workload.shape import Pair


class OfWindows(LayerKind):
    """A layer whose windows are its own, of which some or all inputs are driven; the base of such kinds.

    Attributes:
        rows: inputs of a window that are driven, of each group of the convolution; None: all.
        support: these inputs; None: to be chosen on data, unless all are driven.
    """

    rows: int | None
    support: str | None

    @property
    def shares_support(self) -> bool:
        """Whether only some inputs of a window are driven."""
        return self.rows is not None

    @property
    def known_support(self) -> str | None:
        """These inputs."""
        return self.support

    def with_support(self, support: str) -> Self:
        """The layer with these inputs."""
        # The field is that of a kind: this base has none of its own.
        return replace(self, **{"support": support})


@dataclass(frozen=True)
class WindowLayer(OfWindows):
    """A window of a x b output pixels, computed from `rows` of its inputs by weights that are all free.

    SDK stores shifted copies of one kernel in the box of a window, and zeros between them (Zhang et al.,
    TCAD 2020); here every cell of the box holds a weight of its own. KERNTROL (TCAS-I, 2024) gives idle cells
    of driven rows weights, too.

    Attributes:
        window: (a, b) output pixels.
        rows: inputs of a window that are driven, of each group of the convolution; None: all.
        support: these inputs, positions (ph, pw) of each input channel (see `plan.support`); None: to be
            chosen on data, unless all are driven.
    """

    name: ClassVar[str] = "window"
    # Its windows are its own. One activation of its matrix is what im2col does for one pixel of it.
    mappings: ClassVar[tuple[str, ...]] = ("im2col",)
    made_for_data: ClassVar[bool] = True
    one_kernel: ClassVar[bool] = False
    schema: ClassVar[Mapping[str, Any]] = {
        "window": {
            "type": "array",
            "items": {"type": "integer", "minimum": 1},
            "minItems": 2,
            "maxItems": 2,
        },
        "rows": {"type": "integer", "minimum": 1},
        "support": {"type": "string", "pattern": PATTERN},
    }

    window: Pair
    rows: int | None = None
    support: str | None = None

    def __post_init__(self) -> None:
        plain_numbers_(self)
        sides = self.window
        whole = isinstance(sides, tuple) and all(type(side) is int and side >= 1 for side in sides)
        if not whole or len(sides) != 2:
            raise InputError(f"window (={sides}) must be a pair of positive whole numbers, such as (2, 2)")
        if self.rows is not None and (type(self.rows) is not int or self.rows < 1):
            raise InputError(f"rows (={self.rows}) must be a positive whole number")
        if self.support is None:
            return
        if self.rows is None:
            raise InputError("only window layers with rows have a support")
        check_support_words(self.support)

    def with_rows(self, shape: ConvShape, rows: int | None) -> WindowLayer:
        """The layer with so many inputs of a window driven; with all where it has no more.

        Args:
            shape: the layer.
            rows: of each group; None: all.
        """
        if rows is not None and rows >= window_shape(shape, self.window).n:
            rows = None
        return replace(self, rows=rows)

    def short(self) -> str:
        """`w2x2 r64`, or `w2x2` where all inputs are driven."""
        window = f"w{self.window[0]}x{self.window[1]}"
        if self.rows is None:
            return window
        return f"{window} r{self.rows}"

    def check(self, shape: ConvShape) -> None:
        """Refuse a layer that cannot be replaced, or has no such window or inputs."""
        if shape.fixed:
            raise InputError(
                f"plan, layer {shape.name}: it cannot be a window layer: {shape.fixed}; make it dense"
            )
        if shape.is_linear:
            raise InputError(
                f"plan, layer {shape.name}: a window needs an output plane; it is a fully connected layer"
            )
        check_window(shape, self.window)
        self.check_rows(shape)
        if self.support is None:
            return
        whole = window_shape(shape, self.window)
        kept = text_to_support(self.support, whole).reshape(shape.groups, -1).sum(axis=1)  # (G,)
        if np.any(kept != self.rows):
            raise InputError(
                f"plan, layer {shape.name}: rows (={self.rows}) must be the inputs that its support keeps in "
                f"each group, {' and '.join(map(str, sorted(set(kept.tolist()))))}"
            )

    def check_rows(self, shape: ConvShape) -> None:
        """Refuse more inputs than a window has; the plane may be of any size.

        Raises:
            InputError: `rows` is above C_in/G * ph * pw.
        """
        height, width = window_box(shape, self.window)
        inputs = shape.in_channels // shape.groups * height * width
        if self.rows is not None and self.rows > inputs:
            raise InputError(
                f"plan, layer {shape.name}: rows (={self.rows}) must be at most {inputs}, the inputs of a "
                f"window of {self.window[0]}x{self.window[1]}"
            )

    def worse_than_dense(self, runs: Sequence[ConvShape], array: ArraySpec, mapping: str) -> str:
        """Why it saves nothing: it is the dense layer on im2col, or needs more cycles than the dense one."""
        if self.window == (1, 1) and self.rows is None:
            return "a window of one pixel and all of its inputs is the layer as it is"
        dense = sum(map_layer(run, array, mapping).cycles for run in runs)
        own = sum(window_cycles(run, self.window, array, self.rows) for run in runs)
        if own > dense:
            return f"{self.short()} saves nothing ({own:,} cycles instead of {dense:,})"
        return ""

    def holds(self, other: LayerKind) -> bool:
        """Whether `other` is a window layer of the same window that drives no other inputs.

        With all inputs it holds every layer of one kernel, whose shifted copies it begins with.
        """
        if isinstance(other, WindowLayer):
            if other.window != self.window:
                return False
            return self.rows is None or is_within(other.support, self.support)
        return self.rows is None and other.one_kernel
