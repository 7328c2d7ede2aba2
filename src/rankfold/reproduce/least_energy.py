"""What is saved in energy: the network of least energy that is within a point of the dense one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rankfold.cost.energy import NOT_SIMULATED
from rankfold.plan import Quantise
from rankfold.plan.kinds import PLAIN
from rankfold.report.arrays.words import method_words
from rankfold.reproduce.headline import Point, by_array
from rankfold.reproduce.summary import point_to_json
from rankfold.reproduce.words import accuracy_in_words, table

NEAR = 0.01 + 1e-9  # of accuracy: a point, and what differences of decimals lose
SAVINGS = "headlines-energy.json"  # in the folder of a grid


@dataclass(frozen=True)
class Saving:
    """The dense network of most bits under im2col, and the network of least energy within a point of it.

    Attributes:
        dense: the former, which published savings are counted against.
        mapped: the same network under the one of its mappings that takes least energy, which costs nothing.
        least: the network of least energy, under one mapping of all layers; the dense one may be it.
    """

    dense: Point
    mapped: Point
    least: Point

    @property
    def share(self) -> float:
        """The part of the dense network's energy under im2col that is saved, 0 to 1."""
        return _saved(self.dense, self.least)

    @property
    def share_of_mapped(self) -> float:
        """The part of the dense network's energy under its best mapping that is saved, 0 to 1."""
        return _saved(self.mapped, self.least)


def _saved(before: Point, after: Point) -> float:
    assert before.energy is not None and after.energy is not None  # as `savings` takes them
    return 1 - after.energy / before.energy


def savings(points: Sequence[Point]) -> tuple[Saving, ...]:
    """One for each array and teacher; none where no dense network of some bits was trained and priced.

    Args:
        points: averaged over seeds.
    """
    found = []
    for here in by_array(points).values():
        priced = [point for point in here if _counts(point)]
        for distil in dict.fromkeys(point.of.distil for point in priced):
            alike = [point for point in priced if point.of.distil == distil]
            dense = [point for point in alike if point.is_of(Quantise.name, "im2col")]
            if dense:
                found.append(_saving(max(dense, key=_bits), alike))
    return tuple(found)


def _counts(point: Point) -> bool:
    """Whether a point may save energy.

    Those in float are priced as if they had 4 bits, and no circuit gives columns inputs of their own for
    nothing (ideal steering).
    """
    return point.energy is not None and point.of.bits is not None and point.of.steering == PLAIN


def _saving(dense: Point, alike: Sequence[Point]) -> Saving:
    same = [point for point in alike if point.method == Quantise.name and point.of.bits == dense.of.bits]
    near = [point for point in alike if point.accuracy >= dense.accuracy - NEAR]
    return Saving(dense, _cheapest(same), _cheapest(near))


def _cheapest(points: Sequence[Point]) -> Point:
    """That of least energy; of several the most accurate, and of its mappings that of fewest cycles."""
    return min(points, key=lambda point: (point.energy, -point.accuracy, point.cycles))


def _bits(point: Point) -> int:
    return point.of.bits or 0


def savings_table(found: Sequence[Saving]) -> str:
    """A row for each of them, and that nothing was simulated; empty without any."""
    if not found:
        return ""
    head = [
        "array",
        "dense, im2col",
        "accuracy",
        "energy, nJ",
        "best mapped, nJ",
        "least energy within a point of it",
        "accuracy",
        "energy, nJ",
        "less than im2col",
        "less than best mapped",
    ]
    rows = []
    for one in found:
        mapping, _ = method_words(one.least.of.mapping)
        least = f"{one.least.label} ({mapping})"
        dense = [one.dense.of.array, one.dense.label, *_figures(one.dense), _in_nanojoules(one.mapped)]
        shares = [f"{100 * share:.1f} %" for share in (one.share, one.share_of_mapped)]
        rows.append([*dense, least, *_figures(one.least), *shares])
    lines = table(head, rows, "<<>>><>>>>")
    return f"{lines}\n\nAccuracies are of exact arithmetic; on these arrays: {NOT_SIMULATED}.\n"


def _figures(point: Point) -> tuple[str, str]:
    accuracy = accuracy_in_words(point)
    if point.seeds > 1:
        accuracy += f" ({point.seeds} seeds)"
    return accuracy, _in_nanojoules(point)


def _in_nanojoules(point: Point) -> str:
    assert point.energy is not None  # as `savings` takes them
    return f"{point.energy / 1000:,.1f}"


def savings_to_json(found: Sequence[Saving]) -> list[dict[str, Any]]:
    """The same for programs; energies in pJ."""
    return [
        {
            "array": one.dense.of.array,
            "dense": _to_json(one.dense),
            "dense_best_mapped": _to_json(one.mapped),
            "least": _to_json(one.least),
            "share_saved": one.share,
            "share_saved_of_best_mapped": one.share_of_mapped,
        }
        for one in found
    ]


def _to_json(point: Point) -> dict[str, Any]:
    return {**point_to_json(point), "energy": point.energy, "hardware": point.of.hardware}
