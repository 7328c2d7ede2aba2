"""`Budget`: the most that a network may cost, as users say it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rankfold.arguments import NUMBER, SWITCH, TEXT, plain_numbers_, shown
from rankfold.errors import InputError
from rankfold.planning.exact.candidate import LayerChoices, total
from rankfold.planning.exact.quantities import KNOWN, QUANTITIES

AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(%|[a-z]+[A-Z]?2?)?")
PERCENT = "%"


@dataclass(frozen=True)
class Budget:
    """The most of one quantity.

    Attributes:
        quantity: one of `QUANTITIES`.
        amount: of its base unit: cycles, arrays, pJ, us, mm2, ...; or the share of what the dense network
            needs, 0 to 1.
        share: whether it is a share.
    """

    quantity: str
    amount: float
    share: bool = False

    @classmethod
    def parse(cls, quantity: str, text: str) -> Budget:
        """Read `40%` (of the dense network under its best mapping), `8000`, or with a unit, `300nJ`, `25us`.

        Raises:
            InputError: it is none of these, or not above 0, or there is no such quantity.
        """
        TEXT.check("the quantity of a budget", quantity)
        TEXT.check(f"budget of {quantity}", text)
        quantity = quantity_named(quantity, "budget")
        match = AMOUNT.fullmatch(text.strip())
        if match is None:
            raise _refused(quantity, text)
        amount = float(match[1])
        unit = match[2]  # None, `%` or joules
        if amount <= 0:
            raise _refused(quantity, text)
        if unit == PERCENT:
            return cls(quantity, amount / 100, True)
        known = KNOWN[quantity]
        # Units belong to what has some, and that needs them: 300 alone could be of any unit.
        if known.counted and unit is None:
            return cls(quantity, amount)
        if unit not in known.units:
            raise _refused(quantity, text)
        return cls(quantity, amount * known.units[unit])

    @classmethod
    def parse_all(cls, text: str) -> tuple[Budget, ...]:
        """Read `cycles=5440,energy=600nJ,arrays=40%`: budgets that are kept together.

        Raises:
            InputError: it is no such list, or one of them is no budget.
        """
        TEXT.check("budgets", text)
        budgets = []
        for part in text.split(","):
            name, equals, amount = part.partition("=")
            quantity = quantity_named(name, "budget")
            if not equals:
                raise InputError(
                    f"budget (={part.strip()}) must be such as {quantity}={KNOWN[quantity].example}"
                )
            budgets.append(cls.parse(quantity, amount))
        return tuple(budgets)

    def __post_init__(self) -> None:
        plain_numbers_(self)
        if self.quantity not in QUANTITIES:
            known = ", ".join(QUANTITIES)
            raise InputError(f"budget of {self.quantity}: the quantity must be one of {known}")
        if TEXT.fits(self.amount):
            raise InputError(
                f"budget of {self.quantity}: the amount is {shown(self.amount)}; "
                f"Budget.parse({self.quantity!r}, {self.amount!r}) reads it"
            )
        NUMBER.check(f"budget of {self.quantity}: the amount", self.amount)
        SWITCH.check(f"budget of {self.quantity}: share", self.share)
        if not 0 < self.amount < math.inf:
            raise InputError(f"budget of {self.quantity}: the amount (={self.amount}) must be positive")

    def limit(self, dense: float) -> float:
        """The amount, for a dense network that needs `dense`."""
        if self.share:
            return self.amount * dense
        return self.amount


def quantity_named(name: str, what: str) -> str:
    """One of `QUANTITIES`, as users write it: `array-cycles` or `array_cycles`.

    Args:
        name: as it was written.
        what: what it is for, in the message.

    Raises:
        InputError: there is no such quantity.
    """
    quantity = name.strip().replace("-", "_")
    if quantity not in KNOWN:
        known = ", ".join(one.option for one in KNOWN.values())
        raise InputError(f"{what} (={name.strip()}): the quantity must be one of {known}")
    return quantity


def limits_of(budgets: Sequence[Budget], choices: Sequence[LayerChoices]) -> dict[str, float]:
    """The budgets in the base units of their quantities."""
    dense = [layer.dense for layer in choices]  # shares are of the dense network under its best mapping
    return {budget.quantity: budget.limit(total(dense, budget.quantity)) for budget in budgets}


def _refused(quantity: str, text: str) -> InputError:
    example = f"{KNOWN[quantity].example} or 40%"
    return InputError(f"budget of {quantity} (={text}) must be a positive amount such as {example}")
