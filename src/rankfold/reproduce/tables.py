"""Tables of a reproduction as Markdown: accuracy, cycles and energy by setting and array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from rankfold.plan import LowRank, SharedSupport
from rankfold.plan.kinds import IDEAL
from rankfold.reproduce.headline import ROW_SPARSE, Point
from rankfold.reproduce.words import accuracy_in_words, rank_in_words, table

DASH = "–"


def low_rank_tables(points: Sequence[Point]) -> str:
    """Accuracy, and cycles under SDK for each array, by g and r; empty without low-rank points.

    Of points with several weights of distillation, those with the least.
    """
    ours = []
    for point in points:
        if point.is_of(LowRank.name, "sdk"):
            ours.append(point)
    if not ours:
        return ""
    least = min(_distillation(point) for point in ours)
    ours = [point for point in ours if _distillation(point) == least]
    arrays = list(dict.fromkeys(point.of.array for point in ours))
    first = [point for point in ours if point.of.array == arrays[0]]
    groups = sorted({_groups(point) for point in ours})
    ranks = sorted({_rank(point) for point in ours}, key=Fraction, reverse=True)
    parts = ["### Accuracy by groups g and rank r\n"]
    parts.append(_by_groups_and_rank(first, groups, ranks, accuracy_in_words))
    for array in arrays:
        here = [point for point in ours if point.of.array == array]
        parts.append(f"\n### Cycles with SDK, {array} arrays\n")
        parts.append(_by_groups_and_rank(here, groups, ranks, _cycles))
    return "\n".join(parts) + "\n"


def _by_groups_and_rank(
    points: Sequence[Point],
    groups: Sequence[int],
    ranks: Sequence[str],
    show: Callable[[Point], str],
) -> str:
    """A row for each g, a column for each r."""
    shown = {(_groups(point), _rank(point)): show(point) for point in points}
    rows = []
    for g in groups:
        rows.append([str(g), *(shown.get((g, rank), DASH) for rank in ranks)])
    return table(["g", *map(rank_in_words, ranks)], rows, ">" + ">" * len(ranks))


def support_table(points: Sequence[Point]) -> str:
    """Accuracy, and cycles under SDK, of row-sparse low-rank and shared supports; empty without any."""
    shown = []
    for method in (ROW_SPARSE, SharedSupport.name):
        shown += [point for point in points if point.is_of(method, "sdk")]
    return _by_array(shown, _label, _cycles, "cycles, {array}")


def energy_table(points: Sequence[Point]) -> str:
    """Energy of every setting with SDK on each array, in nJ per image; empty where no row has an energy."""
    shown = []
    for point in points:
        if point.of.mapping == "sdk" and point.energy is not None:
            shown.append(point)
    return _by_array(shown, _label_with_steering, _energy, "{array}")


def _by_array(
    points: Sequence[Point],
    label: Callable[[Point], str],
    show: Callable[[Point], str],
    title: str,
) -> str:
    """A row for each setting, a column for each array; empty without points.

    Args:
        points: to be shown.
        label: the setting of a point in words.
        show: the cell of a point.
        title: of a column; `{array}` stands for the array.
    """
    if not points:
        return ""
    settings: dict[str, dict[str, Point]] = {}
    for point in points:
        settings.setdefault(label(point), {})[point.of.array] = point
    arrays = list(dict.fromkeys(point.of.array for point in points))
    rows = []
    for words, same in settings.items():
        cells = [DASH] * len(arrays)
        for place, array in enumerate(arrays):
            if array in same:
                cells[place] = show(same[array])
        rows.append([words, accuracy_in_words(next(iter(same.values()))), *cells])
    heads = [title.format(array=array) for array in arrays]
    return table(["setting", "accuracy", *heads], rows, "<>" + ">" * len(arrays)) + "\n"


def _cycles(point: Point) -> str:
    return f"{point.cycles:,.0f}"


def _energy(point: Point) -> str:
    assert point.energy is not None  # points without one are not shown
    return f"{point.energy / 1000:,.0f}"


def _label(point: Point) -> str:
    return point.label


def _label_with_steering(point: Point) -> str:
    if point.of.steering == IDEAL:
        return f"{point.label}, ideal steering"
    return point.label


def _groups(point: Point) -> int:
    return point.of.groups or 1


def _rank(point: Point) -> str:
    return point.of.rank or ""


def _distillation(point: Point) -> float:
    return point.of.distil or 0.0
