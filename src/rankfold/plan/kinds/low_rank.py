"""Low-rank pairs: g groups of rank r, of which the first stage may keep only some kernel positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rankfold.errors import InputError
from rankfold.lowrank import check_rank
from rankfold.mapping import LOW_RANK_METHODS, ArraySpec, map_layer, map_low_rank
from rankfold.plan.kinds.kind import LayerKind
from rankfold.plan.support import (
    PATTERN,
    check_row_sparse,
    check_support,
    check_support_words,
    is_within,
    support_mark,
)
from rankfold.workload import ConvShape

FALLBACK = "sdk"  # the mapping of a pair that does not know the one that its network has


@dataclass(frozen=True)
class LowRankLayer(LayerKind):
    """W ~ L R_: a grouped convolution to G*g*r channels, then a 1x1 convolution (Jeon et al., DATE 2025).

    Attributes:
        groups: g, blocks of input channels with factors of their own, in each of the G groups of the layer.
        rank: r of each block.
        entries: e, kernel positions of each input channel that R_ keeps; None: all.
        support: these positions (see `plan.support`); None: to be chosen on data.
    """

    name: ClassVar[str] = "low-rank"
    mappings: ClassVar[tuple[str, ...]] = LOW_RANK_METHODS
    windows: ClassVar[int] = 2
    made_for_data: ClassVar[bool] = True
    counts_linear: ClassVar[bool] = True
    schema: ClassVar[Mapping[str, Any]] = {
        "groups": {"type": "integer", "minimum": 1},
        "rank": {"type": "integer", "minimum": 1},
        "entries": {"type": "integer", "minimum": 1},
        "support": {"type": "string", "pattern": PATTERN},
    }

    groups: int
    rank: int
    entries: int | None = None
    support: str | None = None

    def __post_init__(self) -> None:
        if self.support is None:
            return
        if self.entries is None:
            raise InputError("only low-rank layers with entries, and pruning support, have a support")
        # Its words alone: whether they fit is seen once the layer's shape is there, in `check`.
        check_support_words(self.support)

    @property
    def shares_support(self) -> bool:
        """Whether R_ keeps only some kernel positions."""
        return self.entries is not None

    @property
    def known_support(self) -> str | None:
        """The positions that R_ keeps."""
        return self.support

    def with_support(self, support: str) -> LowRankLayer:
        """The pair with these positions."""
        return replace(self, support=support)

    def short(self) -> str:
        """`g4 r8`, or `g4 r8 e4`; a star says that all input channels keep the same positions."""
        pair = f"g{self.groups} r{self.rank}"
        if self.entries is None:
            return pair
        return f"{pair} e{self.entries}{support_mark(self.support)}"

    def check(self, shape: ConvShape) -> None:
        """Refuse a layer that cannot be replaced, or cannot have this (g, r, e)."""
        # Before the numbers, as no other numbers would help.
        if shape.fixed:
            raise InputError(f"plan, layer {shape.name}: it cannot be low-rank: {shape.fixed}; make it dense")
        if self.entries is None:
            check_rank(shape, self.groups, self.rank)
            return
        check_row_sparse(shape, self.groups, self.rank, self.entries)
        if self.support is not None:
            check_support(shape, self.entries, self.support)

    def stored(self, shape: ConvShape, inputs: int | None = None) -> int:
        """Weights of both stages, without bias.

        R_ has r rows for each block, each of which sees the inputs of the block; L has m rows of g * r.

        Args:
            shape: the layer.
            inputs: how many of the C_in * kh * kw inputs R_ reads; None: those that `entries` say.
        """
        if inputs is None:
            # n is of one group of the convolution: G * n = C_in * kh * kw inputs, each in one block.
            inputs = shape.groups * shape.n
            if self.entries is not None:
                inputs = shape.in_channels * self.entries
        return self.rank * inputs + shape.m * self.groups * self.rank

    def worse_than_dense(self, runs: Sequence[ConvShape], array: ArraySpec, mapping: str) -> str:
        """Why the pair saves nothing: as many stored numbers as the layer has, or more cycles.

        For one group, numbers are saved below rank m n / (m + n). Cycles of a pair that keeps only some
        positions are not compared: which ones it keeps is known on data.
        """
        shape = runs[0]
        stored = self.stored(shape)
        if stored >= shape.parameters:
            return self._saves_nothing(f"{stored:,} stored numbers instead of {shape.parameters:,}")
        if self.entries is not None:
            return ""
        own = mapping
        if mapping not in self.mappings:
            own = FALLBACK
        dense = sum(map_layer(run, array, mapping).cycles for run in runs)
        pair = sum(map_low_rank(run, array, self.groups, self.rank, own).cycles for run in runs)
        if pair > dense:
            return self._saves_nothing(f"{pair:,} cycles instead of {dense:,}")
        return ""

    def _saves_nothing(self, what_grows: str) -> str:
        pair = f"rank {self.rank}"
        if self.groups > 1:
            pair = f"{self.groups} groups of rank {self.rank}"
        return f"low-rank saves nothing ({pair}: {what_grows})"

    def holds(self, other: LayerKind) -> bool:
        """Whether `other` is a pair of as many groups or fewer, and of no higher rank.

        g groups of rank r hold any weight with blocks of rank up to r, also in fewer groups that g is a
        multiple of, as a part of a block never has a higher rank than the block. Positions that R_ drops must
        be dropped by `other` too.
        """
        # A pair of full rank holds any weight, but what that rank is depends on a shape, unknown here.
        if not isinstance(other, LowRankLayer):
            return False
        # A pair with all positions has no support, and `is_within` is False for it, as it should be.
        if self.entries is not None and not is_within(other.support, self.support):
            return False
        return self.groups % other.groups == 0 and other.rank <= self.rank
