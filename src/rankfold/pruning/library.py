"""The fixed patterns that PAIRS and GAROS choose from in the code that their authors published.

All are patterns of a 3x3 kernel, keep its centre, and are made so that an SDK window leaves whole rows empty.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np

from rankfold.errors import InputError

Array = np.ndarray
Positions = frozenset[int]  # of a 3x3 kernel, row by row: 0 is the upper left one, 4 the centre

SIDE = 3
ALL: Positions = frozenset(range(SIDE * SIDE))
CENTRE = 4
CORNERS = (0, 2, 6, 8)
# The positions of an outer row or column, with its middle second: upper, lower, left, right.
SIDES = ((0, 1, 2), (6, 7, 8), (0, 3, 6), (2, 5, 8))


def _without_a_corner() -> list[Positions]:
    """e = 8."""
    return [ALL - {corner} for corner in CORNERS]


def _without_two_of_the_edge() -> list[Positions]:
    """e = 7: without two corners, or without a corner and a position beside it."""
    beside = []
    for corner, side in product(CORNERS, SIDES):
        if corner in side:
            beside.append(ALL - {corner, side[1]})
    two_corners = []
    for index, corner in enumerate(CORNERS):
        two_corners += [ALL - {corner, other} for other in CORNERS[index + 1 :]]
    return [*beside, *two_corners]


def _without_a_side() -> list[Positions]:
    """e = 6."""
    return [ALL - set(side) for side in SIDES]


def _without_a_side_and_one() -> list[Positions]:
    """e = 5: without an outer row or column, and one more that is neither the centre nor opposite its
    middle.
    """
    patterns = []
    for side in SIDES:
        opposite = 2 * CENTRE - side[1]
        for other in sorted(ALL - {*side, CENTRE, opposite}):
            patterns.append(ALL - {*side, other})
    return patterns


def _squares() -> list[Positions]:
    """e = 4: 2x2 positions at a corner."""
    return [ALL - {*row, *column} for row, column in product(SIDES[:2], SIDES[2:])]


def _pairs_with_the_centre() -> list[Positions]:
    """e = 2: the centre, and the middle of a side."""
    return [frozenset((CENTRE, side[1])) for side in SIDES]


def _centre_alone() -> list[Positions]:
    """e = 1."""
    return [frozenset((CENTRE,))]


_PATTERNS = {
    8: _without_a_corner,
    7: _without_two_of_the_edge,
    6: _without_a_side,
    5: _without_a_side_and_one,
    4: _squares,
    2: _pairs_with_the_centre,
    1: _centre_alone,
}


@cache
def published_library(entries: int) -> Array:
    """The published patterns that keep e of the 9 positions of a 3x3 kernel.

    Those of 8 to 4 positions are of PAIRS (Rhe et al., ISLPED 2023), and again of 2024, where GAROS (Journal
    of Systems Architecture 165, 2025) has those of 2 and 1 beside them.

    Args:
        entries: e.

    Returns:
        (L, 9) booleans: 4, 14, 4, 16, 4, 4 and 1 patterns for 8, 7, 6, 5, 4, 2 and 1 positions.

    Raises:
        InputError: there are none of so many positions.
    """
    if entries not in _PATTERNS:
        *most, last = (str(known) for known in _PATTERNS)
        raise InputError(
            f"entries (={entries}) must be {', '.join(most)} or {last}: the published patterns keep so many "
            "of the 9 positions of a 3x3 kernel"
        )
    patterns = _PATTERNS[entries]()
    kept = np.zeros((len(patterns), len(ALL)), bool)
    for row, positions in zip(kept, patterns, strict=True):
        row[sorted(positions)] = True
    # It is handed out to many.
    kept.flags.writeable = False
    return kept


def published_size(entries: int) -> int:
    """How many natural patterns PAIRS' authors give their PatDNN: as many as PAIRS has for e, or 4.

    Args:
        entries: e, any number.
    """
    if entries in (5, 7):
        return len(published_library(entries))
    return len(CORNERS)
