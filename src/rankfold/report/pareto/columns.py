"""Columns of the files and tables of fronts as text, for all points at once: there may be 100,000 of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rankfold.plan.prediction import NATS
from rankfold.planning.exact.quantities import KNOWN
from rankfold.report.pareto.view import amounts

LOSS_DIGITS = ".9g"


def loss_column(unit: str) -> str:
    """What the column of predicted losses is called: `predicted_loss` in nats, else by its unit."""
    if unit == NATS:
        return "predicted_loss"
    return f"predicted_{unit.replace(' ', '_')}"


def cost_column(quantity: str, costs: np.ndarray) -> list[str]:
    """What each point costs, in the unit that is shown.

    Args:
        quantity: one of `quantities.KNOWN`.
        costs: (points,) of it.
    """
    digits = ".0f" if KNOWN[quantity].counted else ".6g"
    return number_column(amounts(quantity, costs), digits)


def number_column(values: np.ndarray | Sequence[float], digits: str) -> list[str]:
    """Numbers in a format such as `.6g`."""
    numbers = np.asarray(values).tolist()  # Python's floats are written faster than NumPy's
    return [format(number, digits) for number in numbers]


def word_column(words: Sequence[str], picks: np.ndarray) -> list[str]:
    """What a layer becomes at each point.

    Args:
        words: of each of its candidates.
        picks: (points,) the candidate that each point has.
    """
    return np.array(words, dtype=object)[picks].tolist()


def cost_cells(totals: dict[str, np.ndarray], point: int) -> list[str]:
    """What one point costs, as tables show it.

    Args:
        totals: (points,) of each quantity, in the unit that is shown.
        point: of these.
    """
    return [f"{costs[point]:,.{KNOWN[quantity].digits}f}" for quantity, costs in totals.items()]
