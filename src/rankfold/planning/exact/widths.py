"""`BitChoices`: the bits of weights and of inputs that each layer may have instead of the network's."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rankfold.arguments import TEXT, WHOLE, Wanted, shown
from rankfold.errors import InputError

NARROWEST, WIDEST = 2, 8
PART = re.compile(r"([0-9])(?:-([0-9]))?")
FORM = "widths from 2 to 8, such as 2-8 or 2,4,8, or weights/inputs: 2-8/4,8"


@dataclass(frozen=True)
class BitChoices:
    """Bits that each layer may have.

    Attributes:
        weights: bits of weights, 2 to 8, rising.
        inputs: bits of inputs, and of values between two stages, likewise. One bit is no choice: its levels,
            -1 and +1, have no zero, which most weights and inputs are near to.
    """

    weights: tuple[int, ...]
    inputs: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("weights", "inputs"):
            object.__setattr__(self, name, _checked(name, getattr(self, name)))  # it is frozen

    @classmethod
    def parse(cls, text: str) -> BitChoices:
        """Read `2-8`, `2,4,8`, or `2-8/4,8` where weights and inputs have different choices.

        Raises:
            InputError: it is none of these.
        """
        TEXT.check("layer bits", text)
        weights, slash, inputs = text.partition("/")
        if not slash:
            inputs = weights
        return cls(_parsed(weights, text), _parsed(inputs, text))

    def with_own(self, weight_bits: int, input_bits: int) -> BitChoices:
        """These, and the widths that a layer has already."""
        return BitChoices((*self.weights, weight_bits), (*self.inputs, input_bits))


def _parsed(words: str, text: str) -> tuple[int, ...]:
    widths: list[int] = []
    for word in words.split(","):
        match = PART.fullmatch(word.strip())
        if match is None:
            raise InputError(f"layer bits (={text}) must be {FORM}")
        first = int(match[1])
        last = int(match[2] or first)
        # Before there is a range of all of them.
        if not NARROWEST <= first <= last <= WIDEST:
            raise InputError(f"layer bits (={text}) must be {FORM}")
        widths.extend(range(first, last + 1))
    return tuple(widths)


def _checked(name: str, widths: object) -> tuple[int, ...]:
    """The widths, each once, rising.

    Raises:
        InputError: there is none, or one that is out of range.
    """
    if not isinstance(widths, (tuple, list, range)) or not widths:
        raise InputError(f"layer bits: {name} must be some of 2 to 8, such as (2, 4, 8), not {shown(widths)}")
    for width in widths:
        if not WHOLE.fits(width) or not NARROWEST <= width <= WIDEST:
            raise InputError(f"layer bits: {name} (={shown(width)}) must be whole numbers from 2 to 8")
    return tuple(sorted({int(width) for width in widths}))


# For `arguments.takes`.
CHOICES = Wanted("BitChoices, such as BitChoices.parse('2-8')", BitChoices)
