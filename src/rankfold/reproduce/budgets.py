"""What a grid asks of a plan, read: its budgets, and the bits that its layers may have."""

from __future__ import annotations

from rankfold.plan.methods import Planned
from rankfold.planning.exact.budget import Budget
from rankfold.planning.exact.quantities import CYCLES, ENERGY
from rankfold.planning.exact.widths import BitChoices


def budgets_of(method: Planned) -> tuple[Budget, ...]:
    """The budgets that a plan shall keep together.

    Raises:
        InputError: that of energy is no amount of it.
    """
    budgets = []
    if method.max_cycles is not None:
        budgets.append(Budget(CYCLES, method.max_cycles))
    if method.max_energy is not None:
        budgets.append(Budget.parse(ENERGY, method.max_energy))
    return tuple(budgets)


def bit_choices(method: Planned) -> BitChoices | None:
    """The bits that each convolution may have; None: all have those of the cell.

    Raises:
        InputError: they are no such choice.
    """
    if method.layer_bits is None:
        return None
    return BitChoices.parse(method.layer_bits)
