"""Amounts of what plans cost, and of loss, in words."""

from __future__ import annotations

import math

from rankfold.planning.exact.candidate import LOSS
from rankfold.planning.exact.quantities import KNOWN

SLACK = 1e-9  # of a budget, by which sums of rounded numbers may seem to exceed it


def in_units(quantity: str, amount: float) -> str:
    """An amount of one of `QUANTITIES`, or of the loss, in words.

    Of what is counted they are whole ones, as no plan has a part of a cycle or of an array.

    Args:
        quantity: what it is of.
        amount: of its base unit: cycles, arrays, pJ, us, mm2, ...; of a loss in its unit.
    """
    if quantity == LOSS:
        return f"{amount:.4g} of predicted loss"
    known = KNOWN[quantity]
    if not known.counted:
        return f"{known.shown(amount):,.{known.digits}f} {known.unit}"
    count = math.floor(amount * (1 + SLACK))
    noun = known.noun
    if count != 1:
        noun += "s"
    return f"{count:,} {noun}"
