"""`Quantity`: what a plan can cost, in which units people say it, and how layers make up a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

CYCLES, ARRAYS, ENERGY = "cycles", "arrays", "energy"
ARRAY_CYCLES, CONVERSIONS, LATENCY = "array_cycles", "conversions", "latency"
INTERVAL, AREA, WEIGHTS = "interval", "area", "weights"


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One thing that a plan costs; less of it is better.

    Attributes:
        name: of `Candidate`'s field.
        noun: what one of it is called, where it is counted in whole ones; empty: it has a unit.
        units: amounts of the base unit by the units that people may write; the first one is shown.
        digits: behind the point, where it is shown.
        example: of an amount.
        largest: whether a network costs as much as its most expensive layer, not as all of them together.
        priced: whether it takes a component table, bits of cells and DACs to be known.
        meaning: in a few words.
    """

    name: str
    meaning: str
    example: str
    noun: str = ""
    units: Mapping[str, float] = field(default_factory=dict)
    digits: int = 0
    largest: bool = False
    priced: bool = False

    @property
    def counted(self) -> bool:
        """Whether there are only whole amounts of it."""
        return bool(self.noun)

    @property
    def unit(self) -> str:
        """That in which it is shown; empty where it is counted."""
        return next(iter(self.units), "")

    @property
    def title(self) -> str:
        """At the head of a column, with its unit."""
        if self.counted:
            return spoken(self.name)
        return f"{spoken(self.name)}, {self.unit}"

    @property
    def option(self) -> str:
        """What the command line calls it."""
        return self.name.replace("_", "-")

    def shown(self, amount: float) -> float:
        """An amount in the unit that is shown."""
        if self.counted:
            return amount
        return amount / self.units[self.unit]


KNOWN: Mapping[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        Quantity(name=CYCLES, noun="cycle", example="5000", meaning="activations of arrays, a whole input"),
        Quantity(name=ARRAYS, noun="array", example="128", meaning="stored tiles, each on an array"),
        Quantity(
            name=ENERGY,
            units={"nJ": 1e3, "uJ": 1e6, "mJ": 1e9},  # of a pJ
            digits=1,
            example="300nJ",
            priced=True,
            meaning="dynamic, per image",
        ),
        Quantity(
            name=ARRAY_CYCLES,
            noun="array cycle",
            example="40000",
            priced=True,
            meaning="activations with each slice of the inputs and turn of the rows",
        ),
        Quantity(
            name=CONVERSIONS,
            noun="conversion",
            example="2000000",
            priced=True,
            meaning="columns that ADCs convert",
        ),
        Quantity(
            name=LATENCY,
            units={"us": 1.0, "ns": 1e-3, "ms": 1e3},
            digits=2,
            example="250us",
            priced=True,
            meaning="of an image, layer after layer",
        ),
        Quantity(
            name=INTERVAL,
            units={"us": 1.0, "ns": 1e-3, "ms": 1e3},
            digits=2,
            example="25us",
            largest=True,
            priced=True,
            meaning="between images, layers pipelined",
        ),
        Quantity(
            name=AREA,
            units={"mm2": 1.0, "um2": 1e-6},
            digits=3,
            example="1.5mm2",
            priced=True,
            meaning="of all arrays with their converters",
        ),
        Quantity(name=WEIGHTS, noun="weight", example="100000", meaning="stored"),
    )
}
# What a plan costs, and what budgets may be kept on.
QUANTITIES = tuple(KNOWN)
# What is told of every plan, where it is known, and tells candidates apart that are equal in all that counts.
USUAL = (CYCLES, ARRAYS, ENERGY)


def spoken(name: str) -> str:
    """The name of a quantity, or of the loss, as prose has it: `array cycles`."""
    return name.replace("_", " ")


def is_priced(names: Iterable[str]) -> bool:
    """Whether any of some quantities takes a component table; the loss takes none."""
    return any(name in KNOWN and KNOWN[name].priced for name in names)
