"""How integers become cells and input slices, and how the sums of these are put together again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.mapping.array import (
    COLUMNS,
    DIFFERENCES,
    DIFFERENTIAL,
    SIGN_MAGNITUDE,
    TWOS_COMPLEMENT,
    lowest_weight,
)


@dataclass(frozen=True)
class CellCoding:
    """The columns that hold a signed weight of b bits, -2^(b-1) to 2^(b-1)-1.

    Differential cells may lack a level for the magnitude of -2^(b-1); such weights are stored as the lowest
    that they hold.

    Whole: one column holds the weight itself, with its sign. Offset (Shafiee et al., ISCA 2016): w + 2^(b-1)
    in slices of `cell_bits`, least significant first; a reference column stores the offset alone, in its
    highest cell, and is taken off again. Differential: the magnitude in slices, in one set of columns where w
    is positive and in another where it is negative.

    How differences are converted (`converts`), and why they are exact
        w  weight of b bits    u_j  level, 0 to L, of its cell j, which counts g_j    x_r  input of row r
    Differential: w = sum_j g_j (p_j - n_j). Subtracting the columns of p_j and n_j before the converter
    instead of behind it converts d_j = sum_r (p_j - n_j) x_r: half as many conversions, of signed sums.
    Offset: w + 2^(b-1) = sum_j g_j u_j. Sums of u_j x_r have a mean of L/2 sum_r x_r, which says nothing of
    the weights and yet takes up most of the range of a converter. A reference column whose cells are half on
    has just that sum, with its level c_r, by turns the whole numbers below and above L/2, row by row, so that
    all sums stay whole. It is subtracted from every column before conversion: d_j = sum_r (u_j - c_r) x_r, so
        sum_r w_r x_r = sum_j g_j d_j + sum_r (c_r sum_j g_j - 2^(b-1)) x_r.
    The last term depends on no weight: two digital counters add the inputs of even and of odd rows, and it is
    exact. (Macros track the mean in analog with references that know the number of driven rows: Chen et al.,
    ISSCC 2018; the same sum over centred digits with a digital share of the inputs: Andrulis et al.,
    "RAELLA", ISCA 2023.) A top cell that holds fewer bits than the others is not centred.

    Attributes:
        weight_bits: b.
        cell_bits: bits of one cell; None: whole.
        coding: `offset` or `differential`.
        converts: `columns` or `differences`, see `ArraySpec`.
    """

    weight_bits: int
    cell_bits: int | None = None
    coding: str = "offset"
    converts: str = COLUMNS

    @classmethod
    def of(cls, array: ArraySpec, weight_bits: int) -> CellCoding:
        """The coding of weights of `weight_bits` on an array."""
        return cls(weight_bits, array.cell_bits, array.coding, array.converts)

    @property
    def subtracts(self) -> bool:
        """Whether differences of columns are converted."""
        return self.cell_bits is not None and self.converts == DIFFERENCES

    @property
    def has_reference(self) -> bool:
        """Whether every array has a reference column."""
        return self.cell_bits is not None and self.coding == "offset"

    @property
    def largest_digit(self) -> int:
        """The largest magnitude that one cell adds to a converted sum, fully driven with an input of one."""
        if self.subtracts and self.has_reference:
            return self.highest - self.highest // 2
        return self.highest

    @cached_property
    def converted(self) -> tuple[int, ...]:
        """What each converted sum of a weight counts for: those of its columns, or of pairs of them."""
        if self.subtracts and not self.has_reference:
            return self.factors[: len(self.factors) // 2]
        return self.factors

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
        """(level, factor) of the reference column, if it is converted by itself; else None."""
        if not self.has_reference or self.subtracts:
            return None
        factor = self.factors[-1]
        return self._offset // factor, -factor

    def reference_levels(self, rows: int, first_row: int = 0) -> Tensor | None:
        """(rows,) int64 levels of the cells of the reference column from a row on; None: there is none."""
        if not self.has_reference:
            return None
        if self.reference is not None:
            level, _ = self.reference
            return torch.full((rows,), level)
        below = self.highest // 2
        number = torch.arange(first_row, first_row + rows)
        return below + number % 2 * (self.highest - 2 * below)

    def input_shares(self, rows: int, first_row: int = 0) -> Tensor | None:
        """(rows,) what each row's input counts for beside the differences, which a digital count adds; or
        None, where nothing is to be added.
        """
        levels = self.reference_levels(rows, first_row)
        if levels is None or not self.subtracts:
            return None
        return levels * sum(self.factors) - self._offset

    @property
    def lowest(self) -> int:
        """The lowest weight that the cells hold, -2^(b-1) or the next one."""
        return lowest_weight(self.weight_bits, self.cell_bits, self.coding)

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
        if not self.has_reference:
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

    Unsigned inputs are driven as their bits. Signed ones, -2^(b-1) to 2^(b-1)-1, in one of three ways.

    Two's complement: the highest slice carries the sign. A slice of one bit is driven as 0 or 1 and counts
    negatively; a wider one is driven with both signs. A small negative number switches all high bits on: the
    large sums of these cancel each other behind the converters only, and their errors do not.
    Sign-magnitude: x = sgn(x) |x|, and every slice of |x| is driven with the sign of x. Small numbers leave
    the high slices at zero, and products of either sign cancel on the column. Rows need drivers of both
    signs: NeuRRAM drives n bits as n-1 pulses of -1, 0 or 1 (Wan et al., Nature 608, 2022).
    Differential: x = max(x, 0) - max(-x, 0); the slices of the first term are driven in one pass and those of
    the second in another, which counts negatively. Drivers of one sign do, such as word lines, in twice the
    time; products cancel behind the converters (aihwkit's `PosNegSeparateDigitalSum`).

    Magnitudes take s = ceil(max(b-1, 1) / d) slices of d bits. Where these hold b-1 bits alone, they end at
    2^(b-1)-1. Hardware spends no slice (an eighth of the time, at b = 8 and d = 1) on the single level
    -2^(b-1): it is driven as the lowest that the slices hold (`lowest`), as `CellCoding` stores weights.
    Two's complement drives it as it is. So do inputs that are driven whole, with their sign, in all codings.

    Attributes:
        bits: b.
        signed: whether inputs have a sign.
        dac_bits: d, bits of a slice; None: the whole input at once.
        coding: of signed inputs, see `ArraySpec.input_coding`.
    """

    bits: int
    signed: bool
    dac_bits: int | None = None
    coding: str = TWOS_COMPLEMENT

    @classmethod
    def of(cls, array: ArraySpec, bits: int, signed: bool) -> InputCoding:
        """The coding of inputs of `bits` on an array."""
        return cls(bits, signed, array.dac_bits, array.input_coding)

    @property
    def by_magnitude(self) -> bool:
        """Whether what is sliced are magnitudes."""
        return self.signed and self.dac_bits is not None and self.coding != TWOS_COMPLEMENT

    @cached_property
    def _widths(self) -> tuple[int, ...]:
        """Bits of each slice of a whole input, or of a magnitude; the highest one may be narrower."""
        if self.dac_bits is None:
            return (self.bits,)
        width = min(self.dac_bits, self.bits)
        if self.by_magnitude:
            # What the highest slice has to spare may drive the magnitude of -2^(b-1).
            return (width,) * len(_powers(width, max(1, self.bits - 1)))
        whole, rest = divmod(self.bits, width)
        widths = [width] * whole
        if rest:
            widths.append(rest)
        return tuple(widths)

    @property
    def driven_negative(self) -> bool:
        """Whether a row is ever driven with a negative value."""
        if self.by_magnitude:
            return self.coding == SIGN_MAGNITUDE
        return self.signed and self._widths[-1] > 1

    @property
    def lowest(self) -> int:
        """The lowest input that is driven, for which lower ones are taken."""
        if not self.signed:
            return 0
        lowest = -(1 << self.bits - 1)
        if not self.by_magnitude:
            return lowest
        highest_driven = (1 << sum(self._widths)) - 1
        return max(lowest, -highest_driven)

    @property
    def highest(self) -> int:
        """The largest magnitude that a row is driven with."""
        first = self._widths[0]
        last = self._widths[-1]
        several = len(self._widths) > 1
        if self.by_magnitude and not several:
            return -self.lowest
        if self.by_magnitude or not self.driven_negative:
            return (1 << first) - 1
        largest = 1 << last - 1  # of the lowest two's complement
        if several:
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
        if self.by_magnitude:
            if self.coding == DIFFERENTIAL:
                factors += [-factor for factor in factors]
        elif self.signed and self._widths[-1] == 1:
            factors[-1] = -factors[-1]
        return tuple(factors)

    def slices(self, levels: Tensor) -> Iterator[Tensor]:
        """The integer values driven, slice by slice, of integer inputs (...), `lowest` or more."""
        if not self.by_magnitude:
            yield from self._bits(levels, ends_signed=self.driven_negative)
        elif self.coding == DIFFERENTIAL:
            yield from self._bits(levels.clamp(min=0))
            yield from self._bits(levels.neg().clamp(min=0))
        else:
            signs = levels.sign()
            for part in self._bits(levels.abs()):
                yield part * signs

    def _bits(self, levels: Tensor, ends_signed: bool = False) -> Iterator[Tensor]:
        """The bits of integers (...), slice by slice; of the last one with the sign, where it has one."""
        shift = 0
        for number, width in enumerate(self._widths):
            part = levels >> shift
            is_last = number == len(self._widths) - 1
            if not (ends_signed and is_last):  # there the shift keeps the sign
                part &= (1 << width) - 1
            yield part
            shift += width
