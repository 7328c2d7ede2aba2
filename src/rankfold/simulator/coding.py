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

    Differential cells may lack a level for the magnitude of -2^(b-1); such weights are stored as the lowest that they hold.

    Whole: one column holds the weight itself, with its sign. Offset (Shafiee et al., ISCA 2016): w + 2^(b-1) in slices of
    `cell_bits`, least significant first; a reference column stores the offset alone, in its highest cell, and is taken off
    again. Differential: the magnitude in slices, in one set of columns where w is positive and in another where it is negative.

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
    def highest(self) -> int:
        """L, the level of a cell of the highest conductance."""
        return (
            1 << self.weight_bits - 1
            if self.cell_bits is None
            else (1 << min(self.cell_bits, self.weight_bits)) - 1
        )

    @cached_property
    def factors(self) -> tuple[int, ...]:
        """What the sum of each of a weight's columns counts for, in the order of the columns."""
        if self.cell_bits is None:
            return (1,)
        if self.coding == "offset":
            return tuple(1 << self.cell_bits * i for i in range(-(-self.weight_bits // self.cell_bits)))
        slices = tuple(
            1 << self.cell_bits * i for i in range(max(1, -(-(self.weight_bits - 1) // self.cell_bits)))
        )
        return slices + tuple(-factor for factor in slices)

    @property
    def reference(self) -> tuple[int, int] | None:
        """(level, factor) of the reference column that every array has with offset coding; None without it."""
        if self.cell_bits is None or self.coding != "offset":
            return None
        offset, factor = 1 << self.weight_bits - 1, self.factors[-1]
        return offset // factor, -factor

    @property
    def lowest(self) -> int:
        """The lowest weight that the cells hold, -2^(b-1) or the next one."""
        lowest = -(1 << self.weight_bits - 1)
        if self.cell_bits is None or self.coding == "offset":
            return lowest
        held = (1 << self.cell_bits * (len(self.factors) // 2)) - 1
        return max(lowest, -held)

    def encode(self, weight: Tensor, name: str) -> Tensor:
        """Cell levels (..., columns), int64, of integer weights (...).

        Raises:
            InputError: a weight is outside the range of its bits.
        """
        weight = weight.to(torch.int64)
        lowest, highest = -(1 << self.weight_bits - 1), (1 << self.weight_bits - 1) - 1
        if weight.numel() and not lowest <= int(weight.min()) <= int(weight.max()) <= highest:
            raise InputError(
                f"layer {name}: weights must be whole numbers from {lowest} to {highest} to be stored in cells"
            )
        if self.cell_bits is None:
            return weight[..., None]
        mask = (1 << self.cell_bits) - 1
        shifts = [self.cell_bits * i for i in range(len(self.factors))]
        if self.coding == "offset":
            return torch.stack([weight - lowest >> shift & mask for shift in shifts], -1)
        shifts = shifts[: len(shifts) // 2]
        weight = weight.clamp(min=self.lowest)
        signs = (weight.clamp(min=0), (-weight).clamp(min=0))
        return torch.stack([part >> shift & mask for part in signs for shift in shifts], -1)

    def decode(self, cells: Tensor) -> Tensor:
        """The weights (...) that cell levels (..., columns) stand for; those that were too low have become `lowest`."""
        weight = (cells * cells.new_tensor(self.factors)).sum(-1)
        return weight if self.reference is None else weight - (1 << self.weight_bits - 1)


@dataclass(frozen=True)
class InputCoding:
    """The slices in which an input of b bits is driven, least significant first.

    A signed input is split in two's complement: the highest slice carries the sign. A slice of one bit is driven as 0 or 1 and
    counts negatively; a wider one is driven with both signs.

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
        width = self.bits if self.dac_bits is None else min(self.dac_bits, self.bits)
        whole, rest = divmod(self.bits, width)
        return (width,) * whole + ((rest,) if rest else ())

    @property
    def driven_negative(self) -> bool:
        """Whether a row is ever driven with a negative value."""
        return self.signed and self._widths[-1] > 1

    @property
    def highest(self) -> int:
        """The largest magnitude that a row is driven with."""
        widest = (1 << self._widths[0]) - 1
        if not self.driven_negative:
            return widest
        return max(1 << self._widths[-1] - 1, widest if len(self._widths) > 1 else 0)

    @cached_property
    def factors(self) -> tuple[int, ...]:
        """What each slice counts for."""
        factors = [1 << sum(self._widths[:i]) for i in range(len(self._widths))]
        if self.signed and self._widths[-1] == 1:
            factors[-1] = -factors[-1]
        return tuple(factors)

    def slices(self, levels: Tensor) -> Tensor:
        """(S, ...) integer values driven, of integer inputs (...)."""
        found = []
        shift = 0
        for number, width in enumerate(self._widths):
            part = levels >> shift
            if not (
                self.driven_negative and number == len(self._widths) - 1
            ):  # there the shift keeps the sign
                part = part & (1 << width) - 1
            found.append(part)
            shift += width
        return torch.stack(found)
