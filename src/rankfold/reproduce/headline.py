"""What a comparison comes down to, from measured points alone: nothing is interpolated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rankfold.plan import METHODS, LowRank
from rankfold.plan.kinds import PLAIN
from rankfold.plan.methods import settings
from rankfold.plan.methods.planned import LAYER_BITS
from rankfold.reproduce.measure import Measurement

# Low-rank with chosen kernel positions, held apart: it is another method to compare with.
ROW_SPARSE = "row-sparse low-rank"
# What a point is the mean of: rows that agree in all of it, and differ in the seed.
SETTING = (
    "method",
    "groups",
    "rank",
    "entries",
    "block",
    "ratio",
    "others",
    "distil",
    "bits",
    "epochs",
    "array",
    "mapping",
    "steering",
    "hardware",
)


@dataclass(frozen=True)
class Point:
    """A setting on one array under one mapping, averaged over its seeds.

    Attributes:
        of: one of the rows it averages, for its setting.
        accuracy: mean over the seeds, 0 to 1.
        cycles: per image, mean over the seeds (masks and so cycles may differ).
        seeds: how many.
        spread: sample standard deviation of the accuracy over the seeds; None for one seed.
        energy: pJ per image, mean over the seeds; None where the rows have none.
    """

    of: Measurement
    accuracy: float
    cycles: float
    seeds: int
    spread: float | None = None
    energy: float | None = None

    @property
    def method(self) -> str:
        """The method, or `ROW_SPARSE` for low-rank that keeps only some kernel positions."""
        if self.of.method == LowRank.name and self.of.entries:
            return ROW_SPARSE
        return self.of.method

    @property
    def title(self) -> str:
        """The method as papers spell it."""
        if self.method in METHODS:
            return METHODS[self.method].title
        return self.method

    def is_of(self, method: str, mapping: str, steering: str = PLAIN) -> bool:
        """Whether it is a setting of a method under a mapping, with its cycles read so."""
        # Through `method`, so that row-sparse pairs are not counted as low-rank.
        own = self.method, self.of.mapping, self.of.steering
        return own == (method, mapping, steering)

    @property
    def label(self) -> str:
        """The setting in words, such as `low-rank, g = 4, r = 1/8`."""
        parts = [self.title]
        known = settings()
        for name, value in self.of.settings.items():
            parts.append(f"{known[name].short} = {value}")
        if self.of.distil is not None:
            parts.append(f"distilled = {self.of.distil}")
        return ", ".join([*parts, self.width])

    @property
    def layer_bits(self) -> str | None:
        """The bits that each of its layers may have; None: all have those of the cell."""
        bits: str | None = self.of.settings.get(LAYER_BITS.name)
        return bits

    @property
    def width(self) -> str:
        """`4 bits`, or `float`; `4 bits and others` where layers may have these."""
        if self.of.bits is None:
            return "float"
        if self.layer_bits is not None:
            return f"{self.of.bits} bits and others"
        return f"{self.of.bits} bits"


@dataclass(frozen=True)
class Comparison:
    """A pair of points: ours, and the one it is held against."""

    ours: Point
    theirs: Point

    @property
    def ratio(self) -> float:
        """Their cycles over ours."""
        return self.theirs.cycles / self.ours.cycles

    @property
    def gain(self) -> float:
        """Our accuracy less theirs, 0.01 for a point."""
        return self.ours.accuracy - self.theirs.accuracy


@dataclass(frozen=True)
class Headline:
    """The two figures, each with the pair that it comes from; None where no pair qualifies.

    Attributes:
        fewer: the largest cycle ratio at equal or better accuracy.
        better: the largest accuracy gain at equal or fewer cycles.
    """

    fewer: Comparison | None
    better: Comparison | None


def by_array(points: Iterable[Point]) -> dict[str, list[Point]]:
    """The points on each array, in the order in which arrays and points come."""
    each: dict[str, list[Point]] = {}
    for point in points:
        each.setdefault(point.of.array, []).append(point)
    return each


def average(rows: Iterable[Measurement]) -> tuple[Point, ...]:
    """One point for each setting, array and mapping, over its seeds."""
    groups: dict[tuple[object, ...], list[Measurement]] = {}
    for row in rows:
        setting = tuple(getattr(row, name) for name in SETTING)
        groups.setdefault(setting, []).append(row)
    return tuple(_mean(same) for same in groups.values())


def _mean(same: Sequence[Measurement]) -> Point:
    """The point of rows with the same setting."""
    count = len(same)
    accuracy = sum(row.accuracy for row in same) / count
    cycles = sum(row.cycles for row in same) / count
    spread = None
    if count > 1:
        # The sample deviation, over n - 1; one seed has none.
        squares = sum((row.accuracy - accuracy) ** 2 for row in same)
        spread = (squares / (count - 1)) ** 0.5
    energies = [row.energy for row in same if row.energy is not None]
    energy = None
    # A mean over some of the seeds would stand beside cycles of all of them.
    if len(energies) == count:
        energy = sum(energies) / count
    return Point(same[0], accuracy, cycles, count, spread, energy)


def comparable(one: Point, other: Point) -> bool:
    """Whether two networks have the same bits and teacher: else these would win or lose, not the layers."""
    return _same_for_all(one) == _same_for_all(other)


def _same_for_all(point: Point) -> tuple[object, ...]:
    return point.of.bits, point.layer_bits, point.of.distil


def headline(ours: Sequence[Point], theirs: Sequence[Point]) -> Headline:
    """The largest cycle ratio at no less accuracy, and the largest accuracy gain at no more cycles, of pairs
    that are comparable.

    A ratio below 1 or a negative gain is reported as it is: then there is nothing to win. Of equal figures,
    the pair with the higher accuracy of ours is named.

    Args:
        ours: points of our method on one array.
        theirs: points to hold them against, on the same array.
    """
    fewer, better = [], []
    for one in ours:
        for other in theirs:
            if not comparable(one, other):
                continue
            # Nothing is drawn through points: only what was measured counts.
            pair = Comparison(one, other)
            if one.accuracy >= other.accuracy:
                fewer.append(pair)
            if one.cycles <= other.cycles:
                better.append(pair)
    return Headline(
        max(fewer, key=lambda pair: (pair.ratio, pair.ours.accuracy), default=None),
        max(better, key=lambda pair: (pair.gain, pair.ours.accuracy), default=None),
    )
