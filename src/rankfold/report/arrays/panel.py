"""`Panel`: one mapping of a layer, as a picture shows it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rankfold.cost.kinds import AnyMapping
from rankfold.mapping import Mapping
from rankfold.report.arrays.cells import cell_copies, shown_tiles
from rankfold.report.arrays.words import caption, pair_caption
from rankfold.workload.shape import Pair

# Arrays that are compared, as many as a panel may show.
COMPARED = 4


@dataclass(frozen=True)
class Panel:
    """One mapping of the layer in a picture.

    Attributes:
        title: its name.
        meaning: what it does, in a few words.
        mapping: of the layer, with one stage or several, such as those of a low-rank pair.
        corner: (y, x) of the output plane at which that of the mapping begins; None: the whole is mapped.
    """

    title: str
    meaning: str
    mapping: AnyMapping
    corner: Pair | None = None

    @property
    def stages(self) -> tuple[Mapping, ...]:
        """The mappings drawn, one or two."""
        return self.mapping.stages

    @property
    def sums(self) -> str | None:
        """The numbers of both stages of a pair together; None for a single stage, which has its own."""
        if len(self.stages) == 1:
            return None
        return pair_caption(self.mapping)

    @property
    def told(self) -> str:
        """The panel in words."""
        numbers = self.sums
        if numbers is None:
            (stage,) = self.stages
            numbers = ", ".join(caption(stage))
        return f"{self.title}: {numbers}"

    def looks_like(self, other: Panel) -> bool:
        """Whether both panels would show the same."""
        if self._looks() != other._looks():
            return False
        # The cells last, as they take longest to compare.
        pairs = zip(self.stages, other.stages, strict=True)
        return all(_same_cells(ours, theirs) for ours, theirs in pairs)

    def also(self, other: Panel) -> Panel:
        """This panel for another method, too."""
        # What comes before the method is the kind, which both have in common.
        _, _, method = other.title.rpartition(", ")
        meaning = "come to the same on this layer"
        if len(self.stages) > 1:
            meaning = self.meaning  # g and r, which the title omits
        return replace(self, title=f"{self.title}, {method}", meaning=meaning)

    def _looks(self) -> list[object]:
        """What is seen of each stage beside its cells."""
        looks: list[object] = []
        for stage in self.stages:
            planes = [(each.origin, each.size, each.window, each.phase) for each in stage.regions]
            looks.append((stage.cycles, stage.tile_count, planes))
        return looks


def _same_cells(ours: Mapping, theirs: Mapping) -> bool:
    shown = zip(
        shown_tiles(ours, COMPARED),
        shown_tiles(theirs, COMPARED),
        strict=True,
    )
    for our, their in shown:
        our_copies = cell_copies(our.region, our.tile, ours.matrix)
        their_copies = cell_copies(their.region, their.tile, theirs.matrix)
        if not np.array_equal(our_copies, their_copies):
            return False
    return True
