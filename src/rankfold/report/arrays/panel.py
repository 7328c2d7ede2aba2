"""`Panel`: one mapping of a layer, as a picture shows it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rankfold.mapping import LowRankMapping, Mapping
from rankfold.report.arrays.cells import cell_copies, shown_tiles
from rankfold.report.arrays.words import caption, pair_caption


@dataclass(frozen=True)
class Panel:
    """One mapping of the layer in a picture.

    Attributes:
        title: its name.
        meaning: what it does, in a few words.
        mapping: of the dense layer, or of the two stages of a low-rank pair.
    """

    title: str
    meaning: str
    mapping: Mapping | LowRankMapping

    @property
    def stages(self) -> tuple[Mapping, ...]:
        """The mappings drawn, one or two."""
        return (self.mapping,) if isinstance(self.mapping, Mapping) else (self.mapping.stage1, self.mapping.stage2)

    @property
    def told(self) -> str:
        """The panel in words."""
        if isinstance(self.mapping, Mapping):
            return f"{self.title}: {', '.join(caption(self.mapping))}"
        return f"{self.title}: {pair_caption(self.mapping)}"

    def looks_like(self, other: Panel) -> bool:
        """Whether both panels would show the same."""
        return self._looks() == other._looks() and all(
            np.array_equal(cell_copies(ours.region, ours.tile), cell_copies(theirs.region, theirs.tile))
            for first, second in zip(self.stages, other.stages, strict=True)
            for ours, theirs in zip(shown_tiles(first, 4), shown_tiles(second, 4), strict=True)
        )

    def also(self, other: Panel) -> Panel:
        """This panel for another method, too."""
        meaning = "come to the same on this layer"
        if isinstance(self.mapping, LowRankMapping):
            meaning = self.meaning  # g and r, which the title leaves out
        return replace(self, title=f"{self.title}, {other.title.rpartition(', ')[2]}", meaning=meaning)

    def _looks(self) -> list[object]:
        return [
            (mapping.cycles, mapping.tile_count, [(each.origin, each.size, each.window, each.phase) for each in mapping.regions])
            for mapping in self.stages
        ]
