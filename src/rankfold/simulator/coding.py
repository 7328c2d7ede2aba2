"""How integers become cells and input slices, and how the sums of these are put together again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec


@dataclass(frozen=True)
class CellCoding:
    """The columns that hold a signed weight of b bits, -2^(b-1) to 2^(b-1)-1.

    Differential cells may lack a level for the magnitude of -2^(b-1); such weights are stored as the lowest
    that they hold.

    Whole: one column holds the weight itself, with its sign. Offset (Shafiee et al., ISCA 2016): w + 2^(b-1)
    in slices of `cell_bits`, least significant first; a reference column stores the offset alone, in its
    highest cell, and is taken off again. Differential: the magnitude in slices, in one set of columns where w
    is positive and in another where it is negative.

    Attributes:
        weight_bits: b.
        cell_bits: bits of one cell; None: whole.
        coding: `offset` or `differential`.
    """

    weight_bits: int
    cell_bits: int | None = None
    coding: str = "offset"

    @classmethod
    def of(cls, array: ArraySpec, weight_bits: int) -> CellCoding:
        """The coding of weights of `weight_bits` on an array."""
        return cls(weight_bits, array.cell_bits, array.coding)

    @property
    def signed(self) -> bool:
        """Whether a cell can be negative."""
        return self.cell_bits is None

    @property
    def _offset(self) -> int:
        """2^(b-1), what makes every weight 0 or more."""
        return 1 << self.weight_bits - 1

    @property
    def highest(self) -> int:
        """L, the level of a cell of the highest conductance."""
        if self.cell_bits is None:
            return self._offset
        # A cell that is wider than the weight is not programmed to its highest level.
        width = min(self.cell_bits, self.weight_bits)
        return (1 << width) - 1

    @cached_property
    def factors(self) -> tuple[int, ...]:
        """What the sum of each of a weight's columns counts for, in the order of the columns."""
        if self.cell_bits is None:
            return (1,)
        if self.coding == "offset":
            return _powers(self.cell_bits, self.weight_bits)
        # One bit less, the sign's; but a weight of one bit needs a column too.
        bits = max(1, self.weight_bits - 1)
        positive = _powers(self.cell_bits, bits)
        negative = tuple(-factor for factor in positive)
        return positive + negative

    @property
    def reference(self) -> tuple[int, int] | None:
        """(level, factor) of the reference column that every array has with offset coding; else None."""
        if self.cell_bits is None or self.coding != "offset":
            return None
        factor = self.factors[-1]
        return self._offset // factor, -factor

    @property
    def lowest(self) -> int:
        """The lowest weight that the cells hold, -2^(b-1) or the next one."""
        lowest = -self._offset
        if self.cell_bits is None or self.coding == "offset":
            return lowest
        cells = len(self.factors) // 2
        highest_held = (1 << self.cell_bits * cells) - 1
        return max(lowest, -highest_held)

    def encode(self, weight: Tensor, layer: str) -> Tensor:
        """Cell levels (..., columns), int64, of integer weights (...).

        Raises:
            InputError: a weight is outside the range of its bits.
        """
        weight = weight.to(torch.int64)
        self._check(weight, layer)
        if self.cell_bits is None:
            return weight[..., None]
        columns = len(self.factors)
        if self.coding == "offset":
            shifted = weight + self._offset
            return _slices(shifted, self.cell_bits, columns)
        weight = weight.clamp(min=self.lowest)
        positive = weight.clamp(min=0)
        negative = positive - weight
        cells = [
            _slices(positive, self.cell_bits, columns // 2),
            _slices(negative, self.cell_bits, columns // 2),
        ]
        return torch.cat(cells, -1)

    def _check(self, weight: Tensor, layer: str) -> None:
        lowest = -self._offset
        highest = self._offset - 1
        if weight.numel() == 0:
            return
        too_low = int(weight.min()) < lowest
        too_high = int(weight.max()) > highest
        if too_low or too_high:
            raise InputError(
                f"layer {layer}: weights must be whole numbers from {lowest} to {highest} "
                "to be stored in cells"
            )

    def decode(self, cells: Tensor) -> Tensor:
        """The weights (...) that cell levels (..., columns) stand for.

        Those that were too low for the cells have become `lowest`.
        """
        factors = cells.new_tensor(self.factors)
        weight = (cells * factors).sum(-1)
        if self.reference is None:
            return weight
        return weight - self._offset


def _powers(width: int, bits: int) -> tuple[int, ...]:
    """What the slices of `width` bits that `bits` bits take count for, least significant first."""
    count = -(-bits // width)
    powers = []
    for number in range(count):
        powers.append(1 << width * number)
    return tuple(powers)


def _slices(numbers: Tensor, width: int, count: int) -> Tensor:
    """(..., count) the lowest bits of whole numbers (...), 0 or more, in slices of `width`."""
    mask = (1 << width) - 1
    slices = []
    for number in range(count):
        rest = numbers >> width * number
        slices.append(rest & mask)
    return torch.stack(slices, -1)


@dataclass(frozen=True)
class InputCoding:
    """The slices in which an input of b bits is driven, least significant first.

    A signed input is split in two's complement: the highest slice carries the sign. A slice of one bit is
    driven as 0 or 1 and counts negatively; a wider one is driven with both signs.

    Attributes:
        bits: b.
        signed: whether inputs have a sign.
        dac_bits: bits of a slice; None: the whole input at once.
    """

    bits: int
    signed: bool
    dac_bits: int | None = None

    @cached_property
    def _widths(self) -> tuple[int, ...]:
        """Bits of each slice; the highest one may be narrower."""
        if self.dac_bits is None:
            return (self.bits,)
        width = min(self.dac_bits, self.bits)
        whole, rest = divmod(self.bits, width)
        widths = [width] * whole
        if rest:
            widths.append(rest)
        return tuple(widths)

    @property
    def driven_negative(self) -> bool:
        """Whether a row is ever driven with a negative value."""
        return self.signed and self._widths[-1] > 1

    @property
    def highest(self) -> int:
        """The largest magnitude that a row is driven with."""
        first = self._widths[0]
        last = self._widths[-1]
        if not self.driven_negative:
            return (1 << first) - 1
        largest = 1 << last - 1  # of the lowest two's complement
        if len(self._widths) > 1:
            largest = max(largest, (1 << first) - 1)
        return largest

    @cached_property
    def factors(self) -> tuple[int, ...]:
        """What each slice counts for."""
        factors = []
        shift = 0
        for width in self._widths:
            factors.append(1 << shift)
            shift += width
        if self.signed and self._widths[-1] == 1:
            factors[-1] = -factors[-1]
        return tuple(factors)

    def slices(self, levels: Tensor) -> Tensor:
        """(S, ...) integer values driven, of integer inputs (...)."""
        parts = []
        shift = 0
        for number, width in enumerate(self._widths):
            part = levels >> shift
            is_last = number == len(self._widths) - 1
            if not (self.driven_negative and is_last):  # there the shift keeps the sign
                part = part & (1 << width) - 1
            parts.append(part)
            shift += width
        return torch.stack(parts)
