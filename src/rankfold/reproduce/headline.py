"""What a comparison comes down to, from measured points alone: nothing is interpolated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rankfold.plan import LOW_RANK
from rankfold.reproduce.measure import Measurement

ROW_SPARSE = "row-sparse low-rank"
TITLES = {"patdnn": "PatDNN", "pairs": "PAIRS", "support": "shared support", "quantise": "dense", "channel": "channel pruning"}
SETTING = ("method", "groups", "rank", "entries", "block", "ratio", "bits", "epochs", "array", "mapping", "steering")


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
    def kind(self) -> str:
        """The method, or `ROW_SPARSE` for low-rank that keeps only some kernel positions."""
        return ROW_SPARSE if self.of.method == LOW_RANK and self.of.entries is not None else self.of.method

    @property
    def label(self) -> str:
        """The setting in words, such as `low-rank, g = 4, r = 1/8`."""
        row = self.of
        names = {"groups": "g", "rank": "r", "entries": "e", "block": "block", "ratio": "ratio"}
        parts = [f"{short} = {getattr(row, name)}" for name, short in names.items() if getattr(row, name) is not None]
        return ", ".join([TITLES.get(self.kind, self.kind), *parts, "float" if row.bits is None else f"{row.bits} bits"])


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


def average(rows: Iterable[Measurement]) -> tuple[Point, ...]:
    """One point for each setting, array and mapping, over its seeds."""
    found: dict[tuple[object, ...], list[Measurement]] = {}
    for row in rows:
        found.setdefault(tuple(getattr(row, name) for name in SETTING), []).append(row)
    points = []
    for same in found.values():
        count = len(same)
        mean = sum(row.accuracy for row in same) / count
        spread = (sum((row.accuracy - mean) ** 2 for row in same) / (count - 1)) ** 0.5 if count > 1 else None
        energies = [row.energy for row in same if row.energy is not None]
        energy = sum(energies) / count if len(energies) == count else None
        points.append(Point(same[0], mean, sum(row.cycles for row in same) / count, count, spread, energy))
    return tuple(points)


def headline(ours: Sequence[Point], theirs: Sequence[Point]) -> Headline:
    """The largest cycle ratio at equal or better accuracy, and the largest accuracy gain at equal or fewer cycles.

    A ratio below 1 or a negative gain is reported as it is: then there is nothing to win. Of equal figures, the pair with the
    higher accuracy of ours is named.

    Args:
        ours: points of our method on one array.
        theirs: points to hold them against, on the same array.
    """
    pairs = [Comparison(one, other) for one in ours for other in theirs]
    fewer = [pair for pair in pairs if pair.ours.accuracy >= pair.theirs.accuracy]
    better = [pair for pair in pairs if pair.ours.cycles <= pair.theirs.cycles]
    return Headline(
        max(fewer, key=lambda pair: (pair.ratio, pair.ours.accuracy), default=None),
        max(better, key=lambda pair: (pair.gain, pair.ours.accuracy), default=None),
    )


def pareto(points: Iterable[Point]) -> tuple[Point, ...]:
    """The points that no other beats in one of cycles and accuracy without losing in the other, by cycles."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cycles, -point.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return tuple(front)
