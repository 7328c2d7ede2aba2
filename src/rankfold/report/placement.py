"""Where the names of points and lines go, so that none covers another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Box = tuple[float, float, float, float]  # left, bottom, right, top
LINE_HEIGHT = 1.3  # of the letters' size
GAP = 8.0  # from a point to its name


def place_names(
    points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], area: Box, keep_free: Sequence[Box] = ()
) -> list[Box]:
    """A box for the name of each point, near it, away from other names and points, and inside `area`.

    Greedy, in the order given, over positions around the point at growing distance.

    Args:
        points: (x, y) of each point.
        sizes: (width, height) of each name.
        area: what may be written on.
        keep_free: where no name should lie.
    """
    taken: list[Box] = [*keep_free, *((x - 6, y - 6, x + 6, y + 6) for x, y in points)]
    boxes = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        box = min(_around(x, y, width, height), key=lambda place: place[0] + _cost(place[1], taken, area))[1]
        boxes.append(box)
        taken.append(box)
    return boxes


def _around(x: float, y: float, width: float, height: float) -> Iterator[tuple[float, Box]]:
    """(penalty, box) for places around a point: right, left, above, below, then the corners and farther ones."""
    for step in range(10):
        down = 0.8 * step * height
        out = GAP + down
        for rank, (left, bottom) in enumerate(
            (
                (x + GAP, y - height / 2 + down),
                (x + GAP, y - height / 2 - down),
                (x - width / 2, y + out),
                (x - width / 2, y - out - height),
                (x - GAP - width, y - height / 2 + down),
                (x - GAP - width, y - height / 2 - down),
                (x - 0.85 * width, y + out),
                (x - 0.15 * width, y + out),
                (x - 0.85 * width, y - out - height),
                (x - 0.15 * width, y - out - height),
            )
        ):
            yield 40.0 * step + rank, (left, bottom, left + width, bottom + height)


def _cost(box: Box, taken: Sequence[Box], area: Box) -> float:
    """What is wrong with a place: area shared with others, dearer than any distance; and sticking out, dearer still."""
    shared = 0.0
    for other in taken:
        wide = min(box[2], other[2]) - max(box[0], other[0])
        tall = min(box[3], other[3]) - max(box[1], other[1])
        if wide > 0 and tall > 0:
            shared += 2000 + wide * tall
    out = max(0.0, area[0] - box[0], area[1] - box[1], box[2] - area[2], box[3] - area[3])
    return shared + (1e6 + out if out > 0 else 0.0)


def spread(wanted: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Heights near `wanted`, in the same order, at least `apart` from each other, between `low` and `high`."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    heights: list[float] = []
    for index in order:
        least = heights[-1] + apart if heights else low
        heights.append(max(wanted[index], least))
    top = high
    for number in range(len(heights) - 1, -1, -1):
        heights[number] = min(heights[number], top)
        top = heights[number] - apart
    found = [0.0] * len(wanted)
    for index, height in zip(order, heights, strict=True):
        found[index] = height
    return found
