"""What planning is asked for, checked before any work is done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rankfold.arguments import NUMBER, TEXT, WHOLE
from rankfold.errors import InputError
from rankfold.planning.exact import CYCLES, LOSS, Budget
from rankfold.planning.exact.budget import quantity_named
from rankfold.planning.exact.quantities import spoken

MEASURED_IMAGES = 2000  # at 90 % a standard error of 0.7 points; two plans are measured on the same
LARGEST_SEED = 2**31 - 1  # what all generators of random numbers take
MOST_TRADES = 2  # quantities that a front trades for predicted loss


def check_budgets(budgets: Sequence[Budget]) -> None:
    """Refuse budgets that no plan could be made for.

    Raises:
        InputError: there are two of one quantity.
    """
    quantities = [budget.quantity for budget in budgets]
    # A mistake, though the smaller would do.
    for quantity in quantities:
        if quantities.count(quantity) > 1:
            raise InputError(f"there are two budgets of {spoken(quantity)}; give one")


def check_drop(max_drop: float | None, *, of_metric: bool) -> None:
    """Refuse what accuracy cannot drop by.

    Args:
        max_drop: the most that may be lost, 0.01 for a point; None: any.
        of_metric: whether it is of a metric, whose values may be of any size.

    Raises:
        InputError: it is refused.
    """
    NUMBER.or_none.check("max_drop", max_drop)
    if max_drop is None:
        return
    if of_metric and not 0 <= max_drop < math.inf:
        raise InputError(f"max drop (={max_drop:g} of the metric) must be 0 or more")
    if not of_metric and not 0 <= max_drop < 1:
        raise InputError(
            f"max drop (={100 * max_drop:g} points) must be at least 0 and below 100; "
            "max_drop=0.01 is one point"
        )


def check_samples(images: int | None, *, seed: int, measured_images: int = MEASURED_IMAGES) -> None:
    """Refuse numbers of samples, and seeds that they cannot be drawn by; see `PlanningOptions`.

    Raises:
        InputError: they are refused.
    """
    WHOLE.or_none.check("images", images)
    WHOLE.check("measured_images", measured_images)
    WHOLE.check("seed", seed)
    for name, value in (("images", images), ("measured images", measured_images)):
        if value is not None and value < 1:
            raise InputError(f"{name} (={value}) must be 1 or more")
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"seed (={seed}) must be between 0 and {LARGEST_SEED}")


def chosen_objective(
    objective: str | None, *, max_loss: float | None = None, max_drop: float | None = None
) -> str | None:
    """What shall be small, as it was asked for: `loss`, or one of `QUANTITIES`; None: see `usual_objective`.

    Raises:
        InputError: there is no such objective, or nothing limits what it would lose; or `max_loss` is none.
    """
    NUMBER.or_none.check("max_loss", max_loss)
    TEXT.or_none.check("objective", objective)
    if max_loss is not None and not 0 <= max_loss < math.inf:
        raise InputError(f"max_loss (={max_loss:g} nats) must be 0 or more")
    if objective is None or objective == LOSS:
        return objective
    quantity = quantity_named(objective, "objective")
    if max_loss is None and max_drop is None:
        raise InputError(
            f"the least {spoken(quantity)} alone would lose whatever it takes: give what may be lost, "
            "max_loss (nats) or max_drop (accuracy)"
        )
    return quantity


def usual_objective(limits: Mapping[str, float], max_drop: float | None) -> str:
    """What shall be small where nothing else is said.

    The cycles where what may be lost is limited and they are not; else the loss.

    Args:
        limits: the most of each quantity, and of predicted loss.
        max_drop: the most accuracy that may be lost; None: any.
    """
    if CYCLES not in limits and (LOSS in limits or max_drop is not None):
        return CYCLES
    return LOSS


def chosen_trades(trades: Sequence[str]) -> tuple[str, ...]:
    """What fronts trade for predicted loss, by the names of quantities.

    Raises:
        InputError: there is no such quantity, or they are more than two, or one twice.
    """
    traded = tuple(quantity_named(name, "front") for name in trades)
    if not 1 <= len(set(traded)) == len(traded) <= MOST_TRADES:
        raise InputError(
            f"a front trades one quantity for predicted loss, or two different ones, not {len(traded)}: "
            f"{', '.join(traded) or 'none'}"
        )
    return traded


def counted_quantities(
    budgets: Sequence[Budget], objective: str | None, trades: Sequence[str]
) -> tuple[str, ...]:
    """The quantities that tell candidates apart: what fronts trade, budgets keep, and is to be small.

    Cycles are among them: they are small where nothing else is said, and searches trade them.
    """
    wanted = [CYCLES, *trades, *(budget.quantity for budget in budgets), objective]
    return tuple(name for name in dict.fromkeys(wanted) if name is not None and name != LOSS)
