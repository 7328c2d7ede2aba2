"""Low-rank pairs: two stored matrices, SDK(R_) and I_N (x) L."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from rankfold.cost.keys import CostKey
from rankfold.cost.kinds.kind import AnyMapping, KindCost, Mapped, StoredShape, needs_support
from rankfold.errors import InputError
from rankfold.mapping import LOW_RANK_METHODS, ArraySpec, LowRankMapping, map_low_rank
from rankfold.mapping.layer import map_with_window
from rankfold.mapping.low_rank import low_rank_stages
from rankfold.mapping.published import PublishedCount, published_window
from rankfold.plan.kinds import LayerKind, LowRankLayer
from rankfold.plan.layer import LayerPlan
from rankfold.plan.support import text_to_support
from rankfold.workload import ConvShape

FAMILY = "low-rank"
SDK = CostKey(FAMILY, "sdk")
# Both stages with one window, so that stage 1 feeds stage 2 without a buffer.
SHARED = CostKey(FAMILY, "shared")


class LowRankCost(KindCost):
    """Pairs, of which the first stage may drive only some rows."""

    # One window for each stage makes the method (Jeon et al. 2025): without it two stages cost more cycles
    # than the dense layer's one.
    own_mapping = "sdk"
    family = FAMILY
    compared = LOW_RANK_METHODS

    def mapping(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> LowRankMapping:
        """Both stages as the plan chose."""
        kind = cast(LowRankLayer, entry.kind)
        return map_low_rank(shape, array, kind.groups, kind.rank, entry.mapping, _support(shape, kind))

    def matrices(self, shape: ConvShape, kind: LayerKind) -> tuple[StoredShape, ...]:
        """Both stages, the first one with its support."""
        pair = cast(LowRankLayer, kind)
        if pair.entries is not None and pair.support is None:
            return ()
        first, second = low_rank_stages(shape, pair.groups, pair.rank)
        return StoredShape(first, _support(shape, pair)), StoredShape(second)

    def published(
        self,
        shape: ConvShape,
        array: ArraySpec,
        large: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> PublishedCount:
        """Both stages with the window of the dense layer; tiles that hold nothing cost nothing."""
        window = published_window(shape, large)
        kind = cast(LowRankLayer, entry.kind)
        first, second = low_rank_stages(shape, kind.groups, kind.rank)
        stages = (
            map_with_window(first, array, window, _support(shape, kind)),
            map_with_window(second, array, window),
        )
        cycles = sum(stage.cycles for stage in stages)
        return PublishedCount(window, cycles, sum(stage.conversions for stage in stages))

    def row_circuits(self, kind: LayerKind) -> tuple[str, ...]:
        """A stage whose rows are chosen pays for choosing them."""
        if kind.shares_support:
            # Only R_, the first stage, reads chosen inputs; L reads all outputs of R_.
            return "rows", "none"
        return "none", "none"

    def input_signs(self, kind: LayerKind, signed: bool | None) -> tuple[bool | None, ...]:
        """The second stage reads sums of either sign, whatever the layer reads."""
        return signed, True

    def comparisons(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> Mapped:
        """The pair under each of its mappings, and with one window for both stages."""
        mapped = super().comparisons(shape, array, entry, mask)
        mapped[SHARED] = cast(LowRankMapping, mapped[SDK]).shared
        return mapped

    def comparisons_of_other(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> Mapped:
        """The other layer under the mapping of the same name; it has one stage, so that nothing is shared."""
        mapped = super().comparisons_of_other(shape, array, entry, mask)
        # A key that a layer lacks would leave a hole in the network's total.
        mapped[SHARED] = mapped[SDK]
        return mapped

    def parameters(self, shape: ConvShape, kind: LayerKind, mapping: AnyMapping) -> int:
        """R_, of the inputs that its support keeps, and L."""
        pair = cast(LowRankLayer, kind)
        support = mapping.stages[0].support
        inputs = None
        if support is not None:
            inputs = int(support.sum())
        return pair.stored(shape, inputs)

    def to_json(self, kind: LayerKind, parameters: int, stages: list[dict[str, Any]]) -> dict[str, Any]:
        """The pair and its stages."""
        pair = cast(LowRankLayer, kind)
        content: dict[str, Any] = {"groups": pair.groups, "rank": pair.rank, "parameters": parameters}
        if pair.entries is not None:
            content["entries"] = pair.entries
        content["stages"] = stages
        return {"low_rank": content}


def _support(shape: ConvShape, kind: LowRankLayer) -> np.ndarray | None:
    """(C_in, kh*kw) the positions that R_ uses; None: all."""
    if kind.support is not None:
        return text_to_support(kind.support, shape)
    # The number of positions is planned, and which ones they are is only known from data.
    if kind.entries is not None:
        raise InputError(needs_support(shape, kind.entries))
    return None


PART = LowRankCost()
