"""A digital multiply-accumulate in the technology of a component table, to hold arrays against.

An array multiplier of b x b bits has b^2 NAND gates that make partial products and b (b - 1) full adders that
add them; an accumulator adds a digit to a sum of S bits. That accumulator is the table's own `accumulators`
(a full adder and a flip-flop for each bit), and the gates of the multiplier are those that it is made of:
NAND2 0.7 fF and XOR2 1.05 fF at 28 nm (ZigZag), so 4.2 fF for a full adder of 3 NAND2 and 2 XOR2, scaled by
node/28, each switched once at C V^2. Fetching the factors from memory is not in it.

At 22 nm and 8 bits this is 0.26 pJ. Horowitz (ISSCC 2014, 45 nm, 0.9 V) has 0.2 pJ for an 8-bit product and
0.03 to 0.1 pJ for a sum of 8 to 32 bits.
"""

from __future__ import annotations

import math

from rankfold.cost.energy.table import ComponentTable
from rankfold.errors import InputError

NAND2, XOR2, NODE = 0.7, 1.05, 28  # fF, fF, nm
FULL_ADDER = 3 * NAND2 + 2 * XOR2  # fF
ACCUMULATORS = "accumulators"  # the component that adds to a sum
PJ = 1e-3  # of fJ


def digital_mac(table: ComponentTable, bits: int, terms: int) -> float:
    """pJ of a multiply-accumulate of two factors of so many bits.

    Args:
        table: the technology.
        bits: of both factors.
        terms: that are added up, which the accumulator has bits for.

    Raises:
        InputError: the table has no accumulators.
    """
    formulae = {component.name: component.energy for component in table.components}
    accumulate = formulae.get(ACCUMULATORS)
    if accumulate is None:
        raise InputError(f"table {table.name} has no {ACCUMULATORS}, which add up products")
    sum_bits = 2 * bits + math.ceil(math.log2(max(terms, 2)))
    values = {"vdd": table.vdd, "node": table.node, "sum_bits": sum_bits}
    gates = bits * bits * NAND2 + bits * (bits - 1) * FULL_ADDER
    multiplied = gates * table.node / NODE * table.vdd**2
    return PJ * (multiplied + accumulate.value(values))
