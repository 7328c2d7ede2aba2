"""Amounts of cycles, arrays, energy and loss in words."""

from __future__ import annotations

import math

from rankfold.planning.exact.candidate import ARRAYS, ENERGY, LOSS

SLACK = 1e-9  # of a budget, by which sums of rounded numbers may seem to exceed it
NANOJOULES = 1e-3  # of a picojoule


def in_units(quantity: str, amount: float) -> str:
    """An amount of one of `QUANTITIES`, or of the loss, in words.

    Of what is counted they are whole ones, as no plan has a part of a cycle or of an array.

    Args:
        quantity: what it is of.
        amount: cycles, arrays, pJ or nats.
    """
    if quantity == LOSS:
        return f"{amount:.4g} nats of loss"
    if quantity == ENERGY:
        return f"{NANOJOULES * amount:,.1f} nJ"
    count = math.floor(amount * (1 + SLACK))
    noun = "cycle"
    if quantity == ARRAYS:
        noun = "array"
    if count != 1:
        noun += "s"
    return f"{count:,} {noun}"
