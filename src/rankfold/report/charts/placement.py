"""Where the names of points and lines go, so that none covers another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

# Of the letters' size.
LINE_HEIGHT = 1.3
# Points, from a point to its name, and from its middle to its edge.
GAP = 8.0
MARK = 6.0
# Distances that are tried.
STEPS = 10

# What is wrong with a place: any overlap is dearer than the farthest place, and leaving the area dearer than
# any overlap.
FARTHER = 40.0
OVERLAP = 2000.0
OUTSIDE = 1e6


class Box(NamedTuple):
    """A rectangle, y upwards."""

    left: float
    bottom: float
    right: float
    top: float

    def shared_area(self, other: Box) -> float | None:
        """The area that both cover; None where they do not overlap."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        tall = min(self.top, other.top) - max(self.bottom, other.bottom)
        if wide <= 0 or tall <= 0:
            return None
        return wide * tall

    def sticking_out(self, area: Box) -> float:
        """How far it sticks out of an area at most; 0 where it lies inside."""
        return max(
            0.0,
            area.left - self.left,
            area.bottom - self.bottom,
            self.right - area.right,
            self.top - area.top,
        )


def place_names(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    area: Box,
    keep_free: Sequence[Box] = (),
) -> list[Box]:
    """A box for the name of each point, near it, away from other names and points, and inside `area`.

    Greedy, in the order given, over positions around the point at growing distance.

    Args:
        points: (x, y) of each point.
        sizes: (width, height) of each name.
        area: what may be written on.
        keep_free: where no name should lie.
    """
    taken = list(keep_free)
    for x, y in points:
        taken.append(Box(x - MARK, y - MARK, x + MARK, y + MARK))
    boxes = []
    for point, size in zip(points, sizes, strict=True):
        box = _best_place(point, size, taken, area)
        boxes.append(box)
        # No later name goes there.
        taken.append(box)
    return boxes


def _best_place(
    point: tuple[float, float],
    size: tuple[float, float],
    taken: Sequence[Box],
    area: Box,
) -> Box:
    """The place around a point with the least that is wrong with it; of equal ones the first."""
    places = []
    for penalty, box in _around(point, size):
        cost = penalty + _cost(box, taken, area)
        places.append((cost, box))
    _, best = min(places, key=lambda place: place[0])
    return best


def _around(
    point: tuple[float, float],
    size: tuple[float, float],
) -> Iterator[tuple[float, Box]]:
    """(penalty, box) for places around a point: right, left, above, below, the corners, and farther ones."""
    width, height = size
    for step in range(STEPS):
        for rank, (left, bottom) in enumerate(_ring(point, size, 0.8 * step * height)):
            box = Box(left, bottom, left + width, bottom + height)
            yield FARTHER * step + rank, box


def _ring(
    point: tuple[float, float],
    size: tuple[float, float],
    away: float,
) -> tuple[tuple[float, float], ...]:
    """(left, bottom) of the places at one distance, the better ones first."""
    x, y = point
    width, height = size
    # At the sides, names move up and down with the distance; above and below, they move off.
    right = x + GAP
    left = x - GAP - width
    middle = y - height / 2
    above = y + (GAP + away)
    below = y - (GAP + away) - height
    return (
        (right, middle + away),
        (right, middle - away),
        (x - width / 2, above),
        (x - width / 2, below),
        (left, middle + away),
        (left, middle - away),
        (x - 0.85 * width, above),
        (x - 0.15 * width, above),
        (x - 0.85 * width, below),
        (x - 0.15 * width, below),
    )


def _cost(box: Box, taken: Sequence[Box], area: Box) -> float:
    """What is wrong with a place: area shared with others, and sticking out."""
    cost = 0.0
    for other in taken:
        shared = box.shared_area(other)
        if shared is not None:
            cost += OVERLAP + shared
    outside = box.sticking_out(area)
    if outside > 0:
        cost += OUTSIDE + outside
    return cost


def spread(wanted: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Heights near `wanted`, in the same order, at least `apart` from each other, between `low` and `high`.

    Args:
        wanted: where each would be if it were alone.
        apart: the least distance.
        low: the lowest height.
        high: the highest one.
    """
    rising = sorted(range(len(wanted)), key=lambda index: wanted[index])
    # Upwards, each moves as far as the one below it demands.
    heights: list[float] = []
    lowest = low
    for index in rising:
        height = max(wanted[index], lowest)
        heights.append(height)
        lowest = height + apart
    # Downwards, what came to lie above `high` moves back, and pushes the ones below it.
    highest = high
    for number in reversed(range(len(heights))):
        heights[number] = min(heights[number], highest)
        highest = heights[number] - apart
    placed = [0.0] * len(wanted)
    for index, height in zip(rising, heights, strict=True):
        placed[index] = height
    return placed
