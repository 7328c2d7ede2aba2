"""`Budget`: the most that a network may cost, as users say it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from rankfold.arguments import NUMBER, SWITCH, TEXT, shown
from rankfold.errors import InputError
from rankfold.planning.exact.candidate import ENERGY, QUANTITIES

AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(%|[num]J)?")
PERCENT = "%"
# Costs of energy are counted in picojoules.
PICOJOULES = {"nJ": 1e3, "uJ": 1e6, "mJ": 1e9}


@dataclass(frozen=True)
class Budget:
    """The most of one quantity.

    Attributes:
        quantity: one of `QUANTITIES`.
        amount: cycles, arrays or pJ; or the share of what the dense network needs, 0 to 1.
        share: whether it is a share.
    """

    quantity: str
    amount: float
    share: bool = False

    @classmethod
    def parse(cls, quantity: str, text: str) -> Budget:
        """Read `40%` (of the dense network under its best mapping), `8000`, or an energy, `300nJ` or `1.2uJ`.

        Raises:
            InputError: it is none of these, or not above 0.
        """
        TEXT.check(f"budget of {quantity}", text)
        match = AMOUNT.fullmatch(text.strip())
        if quantity not in QUANTITIES or match is None:
            raise _refused(quantity, text)
        amount = float(match[1])
        unit = match[2]  # None, `%` or joules
        if amount <= 0:
            raise _refused(quantity, text)
        if unit == PERCENT:
            return cls(quantity, amount / 100, True)
        # Joules belong to the energy, and the energy needs them: 300 alone could be of any unit.
        if (unit is not None) != (quantity == ENERGY):
            raise _refused(quantity, text)
        if unit is None:
            return cls(quantity, amount)
        return cls(quantity, amount * PICOJOULES[unit])

    def __post_init__(self) -> None:
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


def _refused(quantity: str, text: str) -> InputError:
    example = "5000 or 40%"
    if quantity == ENERGY:
        example = "300nJ or 40%"
    return InputError(f"budget of {quantity} (={text}) must be a positive amount such as {example}")
