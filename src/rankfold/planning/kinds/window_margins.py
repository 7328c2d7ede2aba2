"""Window layers whose margins have matrices of their own, where those save cycles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from rankfold.mapping.window_cover import PlanePart, cheapest_cover, most_inputs
from rankfold.mapping.window_matrix import window_shape
from rankfold.plan import LayerPlan, WindowMarginsLayer, support_to_text
from rankfold.plan.kinds import LayerKind, WindowPart
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.kinds.kind import ChosenSupport, KindCandidates
from rankfold.planning.kinds.stored import Stored, StoredWeight
from rankfold.planning.kinds.study import LayerStudy
from rankfold.planning.kinds.window import LARGEST_WINDOW, MAPPING

if TYPE_CHECKING:
    from rankfold.calibration.sensitivity import LayerSensitivity


class WindowMarginsCandidates(KindCandidates):
    """For every number k of row tiles, and for all inputs, the cover of the plane that needs the fewest
    cycles, where windows that overhang need more.
    """

    on_supports = False

    def entries(self, slot: LayerSlot, support: ChosenSupport | None) -> Iterator[LayerPlan]:
        """By rising row tiles; all inputs at last."""
        if support is not None:
            return
        for row_tiles, places in _covers(slot):
            rows = None if row_tiles is None else row_tiles * slot.array.rows
            kind = WindowMarginsLayer.of(places, slot.shape, rows)
            yield replace(slot.entry, kind=kind, mapping=MAPPING)

    def windows(self, slot: LayerSlot) -> tuple[PlanePart, ...]:
        """Those of the parts of all covers."""
        return tuple(dict.fromkeys(place for _, places in _covers(slot) for place in places))

    def made_for(self, kind: LayerKind) -> tuple[PlanePart, ...]:
        """Its parts."""
        return cast(WindowMarginsLayer, kind).places

    def settled(self, kind: LayerKind, study: LayerStudy) -> LayerKind:
        """With the rows of each part that are worth most."""
        parts = []
        for part in cast(WindowMarginsLayer, kind).parts:
            if part.rows is not None:
                fitted = study.window(part.place).fitted(part.rows)
                part = replace(part, support=support_to_text(fitted.support))
            parts.append(part)
        return WindowMarginsLayer(tuple(parts))

    def loss(self, kind: LayerKind, study: LayerStudy, sensitivity: LayerSensitivity) -> float:
        """Those of the changes of all matrices; a part that keeps all inputs loses nothing."""
        # Here, not above: it brings torch, which candidates and their costs do without.
        from rankfold.calibration.sensitivity import predicted_loss

        lost = 0.0
        for part in cast(WindowMarginsLayer, kind).parts:
            if part.rows is not None:
                problem = study.window(part.place)
                lost += predicted_loss(problem.copies, _matrix(part, study), problem.sensitivity)
        return lost

    def stored(self, kind: LayerKind, study: LayerStudy, sensitivity: LayerSensitivity) -> tuple[Stored, ...]:
        """The matrix of each part."""
        found = []
        for part in cast(WindowMarginsLayer, kind).parts:
            copies, known = study.window(part.place).copies, study.to_rounding(part.place)
            found.append(StoredWeight(copies, known, _matrix(part, study)))
        return tuple(found)


def _matrix(part: WindowPart, study: LayerStudy) -> np.ndarray:
    """(m*a*b, C_in/G, ph, pw) what a part stores."""
    problem = study.window(part.place)
    if part.rows is None:
        return problem.copies
    return problem.fitted(part.rows).weight


def _covers(slot: LayerSlot) -> Iterator[tuple[int | None, tuple[PlanePart, ...]]]:
    """Covers of several parts that need fewer cycles than one, by their row tiles."""
    # On several planes the margins of one are not those of another.
    if not slot.one_plane:
        return
    # Where no window has more inputs, all of them are driven.
    most = most_inputs(slot.shape, slot.array, LARGEST_WINDOW) - 1
    for row_tiles in (*range(1, min(most, LARGEST_WINDOW) // slot.array.rows + 1), None):
        places = cheapest_cover(slot.shape, slot.array, row_tiles, LARGEST_WINDOW)
        if len(places) > 1 and _drives(slot, places, row_tiles):
            yield row_tiles, places


def _drives(slot: LayerSlot, places: tuple[PlanePart, ...], row_tiles: int | None) -> bool:
    """Whether any part drives so many row tiles, but not all inputs."""
    if row_tiles is None:
        return True
    inputs = max(window_shape(slot.shape, place.window).n for place in places)
    return row_tiles * slot.array.rows < inputs


PART = WindowMarginsCandidates()
