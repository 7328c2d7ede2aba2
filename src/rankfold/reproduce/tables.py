"""Tables of a reproduction as Markdown: accuracy, cycles and energy by setting and array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from rankfold.cost import PUBLISHED
from rankfold.cost.energy import NOT_SIMULATED
from rankfold.plan import LowRank, SharedSupport
from rankfold.plan.kinds import IDEAL
from rankfold.reproduce.headline import ROW_SPARSE, Point, by_array
from rankfold.reproduce.words import accuracy_in_words, rank_in_words, table

DASH = "–"
BEST = "best"


def low_rank_tables(points: Sequence[Point]) -> str:
    """Accuracy, and cycles under SDK for each array, by g and r; empty without low-rank points.

    Of points with several weights of distillation, those with the least.
    """
    ours = [point for point in points if point.is_of(LowRank.name, "sdk")]
    if not ours:
        return ""
    by_width: dict[str, list[Point]] = {}
    for point in ours:
        by_width.setdefault(point.width, []).append(point)
    parts = []
    for width, same in by_width.items():
        # A cell of the table has room for one point.
        least = min(_distillation(point) for point in same)
        alike = [point for point in same if _distillation(point) == least]
        of_bits = f", {width}" if len(by_width) > 1 else ""
        each = by_array(alike)
        first = next(iter(each.values()))  # accuracies are the same on all arrays
        parts.append(f"### Accuracy by groups g and rank r{of_bits}\n")
        parts.append(_by_groups_and_rank(first, accuracy_in_words))
        for array, here in each.items():
            parts.append(f"\n### Cycles with SDK, {array} arrays{of_bits}\n")
            parts.append(_by_groups_and_rank(here, _cycles))
    return "\n".join(parts) + "\n"


def _by_groups_and_rank(points: Sequence[Point], show: Callable[[Point], str]) -> str:
    """A row for each g, a column for each r."""
    shown: dict[int, dict[str, str]] = {}
    for point in points:
        # By g and r alone: points that differ in more would overwrite each other here.
        shown.setdefault(_groups(point), {})[_rank(point)] = show(point)
    known = {_rank(point) for point in points}
    # By value, since texts would have 1/16 before 1/2; the largest rank, of most weights, first.
    ranks = sorted(known, key=Fraction, reverse=True)
    rows = []
    for groups, cells in sorted(shown.items()):
        rows.append([str(groups), *(cells.get(rank, DASH) for rank in ranks)])
    return table(["g", *map(rank_in_words, ranks)], rows, ">" + ">" * len(ranks))


def support_table(points: Sequence[Point]) -> str:
    """Accuracy, and cycles under SDK, of row-sparse low-rank and shared supports; empty without any."""
    shown = []
    for method in (ROW_SPARSE, SharedSupport.name):
        shown += [point for point in points if point.is_of(method, "sdk")]
    return _by_setting(shown, _label, _cycles, "cycles, {array}")


def best_table(points: Sequence[Point]) -> str:
    """Accuracy, and cycles by the best mapping of each layer, of every setting."""
    shown = [point for point in points if point.of.mapping == BEST]
    return _by_setting(shown, _label_with_steering, _cycles, "cycles, {array}")


def published_table(points: Sequence[Point]) -> str:
    """Accuracy, and cycles in the published reading, of every setting; empty without any."""
    shown = [point for point in points if point.of.mapping == PUBLISHED]
    return _by_setting(shown, _label, _cycles, "cycles, {array}")


def energy_table(points: Sequence[Point], mapping: str) -> str:
    """Energy of every setting under a mapping on each array, in nJ per image; empty where no row has any.

    No grid simulates these arrays, and the table says so.
    """
    shown = []
    for point in points:
        if point.of.mapping == mapping and point.energy is not None:
            shown.append(point)
    energies = _by_setting(shown, _label_with_steering, _energy, "{array}")
    if not energies:
        return ""
    return f"{energies.rstrip()}\n\nAccuracies are of exact arithmetic; on these arrays: {NOT_SIMULATED}.\n"


def _by_setting(
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
    arrays = list(by_array(points))
    rows = []
    for words, same in settings.items():
        # The array changes cycles and not the weights, so any point has the accuracy of all.
        row = [words, accuracy_in_words(next(iter(same.values())))]
        for array in arrays:
            cell = DASH
            # Energy may be missing on some arrays, where no weight fits a row.
            if array in same:
                cell = show(same[array])
            row.append(cell)
        rows.append(row)
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
    # Else plain and ideal steering of one setting would share a row.
    if point.of.steering == IDEAL:
        return f"{point.label}, ideal steering"
    return point.label


def _groups(point: Point) -> int:
    return point.of.groups or 1


def _rank(point: Point) -> str:
    return point.of.rank or ""


def _distillation(point: Point) -> float:
    return point.of.distil or 0.0
