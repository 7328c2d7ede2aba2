"""Low-rank pairs of a window's matrix: a few values of each window, and all its outputs from these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rankfold.arguments import plain_numbers_
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, map_layer
from rankfold.mapping.window_low_rank import MAPPING, window_low_rank_cycles
from rankfold.mapping.window_matrix import window_box
from rankfold.plan.kinds.kind import LayerKind
from rankfold.plan.kinds.low_rank import LowRankLayer
from rankfold.plan.kinds.window import OfWindows, WindowLayer
from rankfold.workload import ConvShape
from rankfold.workload.shape import Pair


@dataclass(frozen=True)
class WindowLowRankLayer(OfWindows):
    """The matrix of a window of a x b output pixels as L R of rank q, of which all weights are free.

    A low-rank pair of the kernel (Jeon et al., DATE 2025) stores shifted copies of R_ and the block-diagonal
    I_N (x) L; it is the case of rank q = N r whose weights repeat, N = a b.

    Attributes:
        window: (a, b) output pixels.
        rank: q, values of each window between the stages, of each group of the convolution.
        rows: inputs of a window that are driven, of each group of the convolution; None: all.
        support: these inputs, positions (ph, pw) of each input channel (see `plan.support`); None: to be
            chosen on data, unless all are driven.
    """

    name: ClassVar[str] = "window-low-rank"
    mappings: ClassVar[tuple[str, ...]] = (MAPPING,)
    made_for_data: ClassVar[bool] = True
    one_kernel: ClassVar[bool] = False
    schema: ClassVar[Mapping[str, Any]] = {
        **WindowLayer.schema,
        "rank": {"type": "integer", "minimum": 1},
    }

    window: Pair
    rank: int
    rows: int | None = None
    support: str | None = None

    def __post_init__(self) -> None:
        plain_numbers_(self)
        if type(self.rank) is not int or self.rank < 1:
            raise InputError(f"rank (={self.rank}) must be a positive whole number")
        self.window_layer  # noqa: B018 (refuses what no window layer has)

    @property
    def window_layer(self) -> WindowLayer:
        """The layer whose matrix is decomposed: of the same window and inputs."""
        return WindowLayer(self.window, self.rows, self.support)

    def short(self) -> str:
        """`w2x2 q32 r64`, or `w2x2 q32` where all inputs are driven."""
        window, *rows = self.window_layer.short().split()
        return " ".join([window, f"q{self.rank}", *rows])

    def check(self, shape: ConvShape) -> None:
        """Refuse a layer that cannot be replaced, or has no such window, inputs or rank."""
        self.window_layer.check(shape)
        self.check_rank(shape)

    def check_rank(self, shape: ConvShape) -> None:
        """Refuse a rank above that of the window's matrix, or more inputs than it has.

        The plane may be of any size.

        Raises:
            InputError: q is above min(N m/G, rows), or `rows` above C_in/G * ph * pw.
        """
        self.window_layer.check_rows(shape)
        a, b = self.window
        height, width = window_box(shape, self.window)
        outputs = a * b * shape.m // shape.groups
        inputs = self.rows or shape.in_channels // shape.groups * height * width
        if self.rank > min(outputs, inputs):
            raise InputError(
                f"plan, layer {shape.name}: rank (={self.rank}) must be at most {min(outputs, inputs)}, the "
                f"full rank of the {outputs} outputs of a window of {a}x{b} and its {inputs} inputs that are "
                "driven"
            )

    def stored(self, shape: ConvShape, driven: int) -> int:
        """Weights of both stages, without bias.

        Args:
            shape: the layer.
            driven: inputs of a window that are driven, of all groups together.
        """
        a, b = self.window
        # Each input meets the q values of its group, as each output does.
        return self.rank * (driven + a * b * shape.m)

    def worse_than_dense(self, runs: Sequence[ConvShape], array: ArraySpec, mapping: str) -> str:
        """Why it saves nothing: it needs more cycles than the dense layer."""
        dense = sum(map_layer(run, array, mapping).cycles for run in runs)
        own = sum(window_low_rank_cycles(run, self.window, self.rank, array, self.rows) for run in runs)
        if own > dense:
            return f"{self.short()} saves nothing ({own:,} cycles instead of {dense:,})"
        return ""

    def holds(self, other: LayerKind) -> bool:
        """Whether `other` is such a pair of the same window, of no higher rank, that drives no other inputs.

        With all inputs it also holds pairs of the kernel: N pixels of g blocks of rank r make a matrix of
        rank N g r at most.
        """
        if isinstance(other, WindowLowRankLayer):
            window = self.window_layer.holds(other.window_layer)
            return window and other.rank <= self.rank
        if isinstance(other, LowRankLayer):
            a, b = self.window
            return self.rows is None and a * b * other.groups * other.rank <= self.rank
        return False
