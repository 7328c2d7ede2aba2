"""Points of a space as rows: for CSV files, and for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from rankfold.explore.exploration import Exploration
from rankfold.explore.front import ACCURACY, LOSS, QUANTITIES, Quantity, compared
from rankfold.explore.outcome import Figures
from rankfold.records.text_table import format_table

ROWS = 20
# Columns of CSV files by the fields of `Figures` whose name does not say the unit.
UNITS = {
    "interval": "interval_us",
    "latency": "latency_us",
    "energy": "energy_pj",
    "area": "area_mm2",
    "loss": "predicted_loss_nats",
}


def csv_rows(found: Exploration, numbers: Sequence[int]) -> tuple[list[str], Iterator[list[Any]]]:
    """Header and rows of a CSV file of these points, with all that is known of each.

    Args:
        found: the exploration.
        numbers: of points that were evaluated.
    """
    names = [field.name for field in fields(Figures)]
    labels = ["network", "plan", "chip", *(axis.place for axis in found.space.axes)]
    header = ["point", *labels, *(UNITS.get(name, name) for name in names), "accuracy", "on_front", "why_not"]
    return header, _csv_rows(found, numbers, names)


def _csv_rows(found: Exploration, numbers: Sequence[int], names: Sequence[str]) -> Iterator[list[Any]]:
    front = set(found.front)
    accuracies = found.accuracies or {}
    for number in numbers:
        outcome = found.outcomes[number]
        values: list[Any] = [None] * len(names)
        if outcome.figures is not None:
            own = asdict(outcome.figures)
            values = [own[name] for name in names]
        labels = labels_of(found, number).values()
        on_front = int(number in front)
        yield [number, *labels, *values, accuracies.get(number), on_front, outcome.why or None]


def labels_of(found: Exploration, number: int) -> dict[str, str]:
    """What a point is, by what varies in the space."""
    point = found.space.point(number, len(found.networks))
    return found.space.labels(point, found.networks)


def shown_quantities(found: Exploration) -> tuple[Quantity, ...]:
    """What is told of every point: what the front trades, the interval, and what differs of the precision."""
    trades = [QUANTITIES[name] for name in found.objectives]
    others = [one for one in compared(found.objectives) if one not in trades]
    differing = [
        one for one in others if len({one.cost(value_of(found, number, one)) for number in found.front}) > 1
    ]
    measured = [] if found.accuracies is None else [ACCURACY]
    return tuple(dict.fromkeys([*trades, QUANTITIES["interval"], *differing, *measured]))


def traded_in_words(found: Exploration) -> str:
    """What the front trades: accuracy instead of the predicted loss where it was measured."""
    traded = [QUANTITIES[name] for name in found.objectives]
    if found.accuracies is not None:
        traded = [*(one for one in traded if one.name != LOSS), ACCURACY]
    return ", ".join(one.title.partition(",")[0] for one in traded)


def value_of(found: Exploration, number: int, quantity: Quantity) -> float:
    """A quantity of a point that runs, in the unit that is shown."""
    if quantity == ACCURACY:
        assert found.accuracies is not None  # else it is not shown
        return quantity.shown(found.accuracies[number])
    value: float = getattr(found.outcomes[number].figures, quantity.name)
    return quantity.shown(value)


def headers(found: Exploration) -> list[str]:
    """Of a table of points: their numbers, what varies, and what they cost."""
    return [
        "point",
        *found.space.varying(len(found.networks)),
        *(one.title for one in shown_quantities(found)),
    ]


def cells(found: Exploration, number: int) -> list[str]:
    """A row of it."""
    labels = labels_of(found, number)
    row = [str(number), *(labels[name] for name in found.space.varying(len(found.networks)))]
    for quantity in shown_quantities(found):
        row.append(f"{value_of(found, number, quantity):,.{quantity.digits}f}")
    return row


def thinned(found: Exploration, most: int = ROWS) -> list[int]:
    """At most so many points of the front, from the one of the least first objective to that of the most."""
    first = QUANTITIES[found.objectives[0]]
    front = sorted(found.front, key=lambda number: (value_of(found, number, first), number))
    if len(front) <= most:
        return front
    return [front[place] for place in np.linspace(0, len(front) - 1, most).round().astype(int).tolist()]


def front_table(found: Exploration, most: int = ROWS) -> str:
    """Some of the front as a table of text."""
    varying = len(found.space.varying(len(found.networks)))
    names = headers(found)
    rows = [cells(found, number) for number in thinned(found, most)]
    return format_table(names, rows, ">" + "<" * varying + ">" * (len(names) - 1 - varying))


def reasons(found: Exploration, most: int = 3) -> list[tuple[str, int]]:
    """Why points cannot run, the most frequent reasons first, each with the number of points."""
    # Numbers within a reason differ from point to point.
    alike: Counter[str] = Counter()
    example: dict[str, str] = {}
    for outcome in found.outcomes.values():
        if outcome.figures is None:
            sort = "".join(letter for letter in outcome.why if not letter.isdigit())
            alike[sort] += 1
            example.setdefault(sort, outcome.why)
    return [(example[sort], count) for sort, count in alike.most_common(most)]
