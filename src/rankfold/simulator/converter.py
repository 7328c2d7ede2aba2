"""`Converter`: the ADC at the columns, one range for a layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rankfold.errors import InputError
from rankfold.machine import CALIBRATED, FULL, NonIdealities


@dataclass(frozen=True)
class Sums:
    """What the sums at a layer's columns can be.

    Attributes:
        rows: rows of the fullest tile.
        input: largest magnitude of a driven value.
        cell: L, the highest cell level.
        signed: whether sums can be negative.
        digit: the largest magnitude of what a cell adds, where that is not L; None: L.
    """

    rows: int
    input: int
    cell: int
    signed: bool
    digit: int | None = None

    @property
    def one_cell(self) -> int:
        """The sum of one fully driven, fully on cell."""
        return self.input * self.cell

    @property
    def largest(self) -> int:
        """The largest magnitude."""
        digit = self.cell
        if self.digit is not None:
            digit = self.digit
        return self.rows * self.input * digit


@dataclass(frozen=True)
class Converter:
    """Rounds sums to the nearest of evenly spaced codes, and clips those outside.

    A sum has the code clip(round(sum / step), low, high). Unsigned sums have the codes 0 to 2^bits - 1,
    signed ones -(2^(bits-1)-1) to 2^(bits-1)-1.

    Attributes:
        step: levels between two codes, at least 1, since ideal sums are whole.
        low: lowest code.
        high: highest code.
    """

    step: float
    low: int
    high: int

    @classmethod
    def of(
        cls,
        chosen: NonIdealities,
        sums: Sums,
        layer: str,
        sample: SumSample | None = None,
    ) -> Converter | None:
        """The converter of a layer; None where sums are read exactly.

        Args:
            chosen: adc_bits and adc_range.
            sums: what the layer's sums can be.
            layer: its name, for errors.
            sample: sums seen on calibration data, needed for `calibrated`.

        Raises:
            InputError: one bit for signed sums, or no sample to calibrate on.
        """
        if chosen.adc_bits is None:
            return None
        cls.check(chosen, sums, layer)
        low, high = _codes(chosen.adc_bits, sums.signed)
        if chosen.adc_range == FULL:
            step = sums.largest / high
            return cls(max(1.0, step), low, high)
        if chosen.adc_range != CALIBRATED:
            reach = float(chosen.adc_range) * sums.one_cell
            step = reach / high
            return cls(max(1.0, step), low, high)
        if sums.largest <= high:
            # Every sum has a code of its own: no data could tell a better step.
            return cls(1.0, low, high)
        if sample is None:
            raise InputError(
                f"layer {layer}: a calibrated ADC range needs data; "
                f"call calibrate_adc_(network, batches), or choose `{FULL}`"
            )
        widest = sums.largest / high
        step = sample.best_step(low, high, widest)
        return cls(step, low, high)

    @staticmethod
    def check(chosen: NonIdealities, sums: Sums, layer: str) -> None:
        """Refuse a converter of one bit for signed sums, which would have no code but zero.

        Raises:
            InputError: it is one.
        """
        if chosen.adc_bits == 1 and sums.signed:
            raise InputError(
                f"layer {layer}: its sums are signed, so adc_bits (={chosen.adc_bits}) must be 2 or more"
            )

    def reads_exactly(self, sums: Sums) -> bool:
        """Whether every ideal sum has a code of its own."""
        return self.step == 1 and sums.largest <= self.high

    def round_(self, scaled: Tensor) -> Tensor:
        """Turn sums over the step into unclipped codes, in place."""
        return scaled.round_()

    def clip_(self, codes: Tensor) -> Tensor:
        """Clip codes in place; a code stands for `code * step`."""
        return codes.clamp_(self.low, self.high)

    def clipped(self, codes: Tensor) -> Tensor:
        """How many codes lie outside, a whole number on the codes' device."""
        below = codes < self.low
        above = codes > self.high
        return (below | above).sum()


def _codes(bits: int, signed: bool) -> tuple[int, int]:
    """The lowest and the highest code."""
    if signed:
        # Symmetric: a code more on one side would shift the mean of what is clipped.
        high = (1 << bits - 1) - 1
        return -high, high
    return 0, (1 << bits) - 1


class SumSample:
    """A bounded random sample of a layer's sums, each with the weight that its error has in the result."""

    SIZE = 1 << 16

    def __init__(self) -> None:
        self._share = 1 << 12  # of one call
        self._held = 0
        self._values: list[Tensor] = []
        self._weights: list[Tensor] = []
        # Its own generator: the sample is the same in every run and torch's global random state is left
        # alone.
        self._draw = torch.Generator().manual_seed(0)

    def add(self, sums: Tensor, weight: float) -> None:
        """Take some of `sums`, of any shape."""
        flat = sums.reshape(-1)
        if flat.numel() > self._share:
            size = (self._share,)
            places = torch.randint(flat.numel(), size, generator=self._draw)
            flat = flat[places.to(flat.device)]
        count = flat.numel()
        # Each that is taken stands for those that are not, too.
        weight_of_each = weight * sums.numel() / count
        self._values.append(flat.float().cpu())
        weights = torch.full((count,), weight_of_each)
        self._weights.append(weights)
        self._held += count
        if self._held > self.SIZE:
            self._halve()

    def _halve(self) -> None:
        """Keep every second sum so far, for two, and take half as many of those to come."""
        values = torch.cat(self._values)[::2]
        weights = torch.cat(self._weights)[::2]
        weights = 2 * weights
        self._values = [values]
        self._weights = [weights]
        self._held = len(values)
        self._share = max(1, self._share // 2)

    def best_step(self, low: int, high: int, widest: float) -> float:
        """The step from 1 to `widest` with the least weighted squared error of clipping and rounding."""
        values = torch.cat(self._values)
        weights = torch.cat(self._weights)
        steps = [max(1.0, widest)]
        for i in range(1, 200):
            step = widest * 2 ** (-i / 8)  # eight steps for each bit of range
            if step > 1:
                steps.append(step)
        steps.append(1.0)
        best = steps[0]
        least = math.inf
        for step in steps:
            codes = (values / step).round()
            codes = codes.clamp(low, high)
            errors = codes * step - values
            error = float(weights.dot(errors**2))
            if error < least:
                best, least = step, error
        return best
