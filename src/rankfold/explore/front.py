"""The best trades among points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rankfold.errors import InputError, did_you_mean
from rankfold.explore.outcome import Figures, Outcome
from rankfold.mapping.front import undominated


@dataclass(frozen=True)
class Quantity:
    """What a point costs.

    Attributes:
        name: of the field of `Figures`, or `accuracy`.
        title: with its unit, for tables and axes.
        scale: of the unit that is shown in that of the field.
        digits: behind the point, where it is shown.
        rises: whether more of it is better.
        rounded: whether values that are shown alike are alike.
    """

    name: str
    title: str
    scale: float = 1.0
    digits: int = 2
    rises: bool = False
    rounded: bool = False

    def shown(self, value: float) -> float:
        """A value in the unit that is shown."""
        return value / self.scale

    def cost(self, value: float) -> float:
        """What shall be small."""
        if self.rounded:
            value = round(value, self.digits)
        return -value if self.rises else value


QUANTITIES: Mapping[str, Quantity] = {
    one.name: one
    for one in (
        Quantity("energy", "energy, nJ", 1e3, 1),
        Quantity("latency", "latency, us"),
        Quantity("interval", "interval, us"),
        Quantity("area", "area, mm2"),
        Quantity("loss", "predicted loss, nats", digits=4),
    )
}
LOSS = "loss"
OBJECTIVES = ("energy", "latency", "area", LOSS)
# What accuracy depends on and the predicted loss does not see: no point gives way to one that has less of it.
PRECISION = (
    Quantity("missing_adc_bits", "missing ADC bits", digits=0),
    # Averages, which differ a little by the layers that plans leave out.
    Quantity("weight_bits", "weight bits", digits=1, rises=True, rounded=True),
    Quantity("input_bits", "input bits", digits=1, rises=True, rounded=True),
)
ACCURACY = Quantity("accuracy", "measured accuracy, %", 0.01, 2, rises=True)


def chosen_objectives(names: Sequence[str]) -> tuple[str, ...]:
    """What a front trades, checked.

    Raises:
        InputError: one of them is none of `QUANTITIES`, or none is given.
    """
    for name in names:
        if name not in QUANTITIES:
            raise InputError(
                f"objective (={name}) must be one of {', '.join(QUANTITIES)}{did_you_mean(name, QUANTITIES)}"
            )
    if not names:
        raise InputError(f"a front needs an objective: {', '.join(QUANTITIES)}")
    return tuple(dict.fromkeys(names))


def compared(objectives: Sequence[str]) -> tuple[Quantity, ...]:
    """What points are compared by: with the predicted loss, the precision that it does not see."""
    found = tuple(QUANTITIES[name] for name in objectives)
    if LOSS in objectives:
        found += PRECISION
    return found


def costs(figures: Figures, quantities: Sequence[Quantity]) -> list[float]:
    """What a point costs in each quantity; less is better."""
    return [one.cost(getattr(figures, one.name)) for one in quantities]


def best_trades(
    outcomes: Iterable[Outcome],
    quantities: Sequence[Quantity],
    accuracies: Mapping[int, float] | None = None,
) -> tuple[int, ...]:
    """Numbers of the points that no other one is as good as in every quantity; of equal ones the first.

    Args:
        outcomes: of points of one network; those that cannot run are left out.
        quantities: what is compared.
        accuracies: measured, by the number of the point: those that have one are compared by it, too, and the
            others left out; None: it is not compared.
    """
    numbers, rows = [], []
    for outcome in sorted(outcomes, key=lambda outcome: outcome.number):
        if outcome.figures is None:
            continue
        row = costs(outcome.figures, quantities)
        if accuracies is not None:
            if outcome.number not in accuracies:
                continue
            row.append(ACCURACY.cost(accuracies[outcome.number]))
        numbers.append(outcome.number)
        rows.append(row)
    if not rows:
        return ()
    return tuple(numbers[index] for index in undominated(np.array(rows, float)))
