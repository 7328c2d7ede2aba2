"""Low-rank pairs, in one group or several, of which the first stage may keep only some kernel positions."""

from __future__ import annotations

from typing import cast

from rankfold.plan.kinds import LayerKind, LowRankLayer
from rankfold.report.kinds.kind import KindPicture, PanelWords, positions_in_words
from rankfold.report.methods import RunMethod
from rankfold.report.palette import BLUE, VERMILION, VIOLET
from rankfold.workload import ConvShape

LOW_RANK, BOTH = "low-rank", "both"


class LowRankPicture(KindPicture):
    """Pairs are named by their groups, and by the positions that R_ keeps."""

    families = LOW_RANK, BOTH

    def family_of(self, kind: LayerKind) -> str:
        """Pairs whose R_ keeps only some positions are both low-rank and pruned."""
        if kind.shares_support:
            return BOTH
        return LOW_RANK

    def method(self, kind: LayerKind) -> RunMethod:
        """`plain low-rank`, `group low-rank, g = 4` or `row-sparse low-rank, e = 3`; ranks may differ."""
        pair = cast(LowRankLayer, kind)
        # Ranks are not named: by one setting, such as 1/8, they differ from layer to layer.
        groups = f"g = {pair.groups}"
        if pair.entries is not None:
            settings = f"e = {pair.entries}"
            if pair.groups > 1:
                settings = f"{groups}, {settings}"
            return RunMethod(
                VIOLET,
                f"row-sparse low-rank, {settings}",
                spares_pointwise=True,
            )
        if pair.groups > 1:
            return RunMethod(BLUE, f"group low-rank, {groups}")
        return RunMethod(VERMILION, "plain low-rank")

    def panel_words(self, kind: LayerKind, shape: ConvShape) -> PanelWords:
        """Groups, rank, and how many positions R_ keeps."""
        pair = cast(LowRankLayer, kind)
        name = "Low-rank"
        meaning = f"rank {pair.rank}"
        if pair.groups > 1:
            name = "Group low-rank"
            meaning = f"{pair.groups} groups, rank {pair.rank} each"
        if pair.entries is not None:
            name = "Row-sparse low-rank"
            meaning += f", {positions_in_words(shape, pair.entries)} of each input channel"
        return PanelWords(name, meaning)

    def bound_is_error(self, kind: LayerKind) -> bool:
        """With a single group: the bound of Theorem 1 is the error of one group at equal rank."""
        return cast(LowRankLayer, kind).groups == 1

    def interest(self, kind: LayerKind) -> int:
        """Many groups: their diagonal of blocks is what a picture shows."""
        return cast(LowRankLayer, kind).groups


PART = LowRankPicture()
