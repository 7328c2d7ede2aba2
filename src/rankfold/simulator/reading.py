"""`Reading`: what happens to the sums at the columns before they are digital numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import torch
from torch import Tensor

from rankfold.machine import PCM, NonIdealities
from rankfold.simulator.coding import CellCoding, InputCoding
from rankfold.simulator.converter import Converter, Sums, SumSample
from rankfold.simulator.kernels import Codes

Factored = tuple[Tensor, int]  # sums, and what they count for in the accumulator


@dataclass
class Tally:
    """What a layer's arrays did: images, activations, conversions, and how many of these clipped."""

    images: int = 0
    activations: int = 0
    conversions: int = 0
    clipped: int = 0


@dataclass(frozen=True, eq=False)
class Reading:
    """How the sums of a layer are read.

    Attributes:
        chosen: the non-idealities.
        sums: what the sums can be.
        converter: reads them; None: exactly.
        draw: of read and output noise.
        coding: of the cells: how many of them, and which, add up to what is converted.
        inputs: how these are driven.
        tally: where to count what clips.
        sample: where to gather sums.
    """

    chosen: NonIdealities
    sums: Sums
    converter: Converter | None
    draw: torch.Generator | None
    _: KW_ONLY
    coding: CellCoding
    inputs: InputCoding
    tally: Tally | None
    sample: SumSample | None

    @property
    def scale(self) -> float:
        """What sums are multiplied by before they are read: by one over the converter's step."""
        if self.converter is None:
            return 1.0
        return 1 / self.converter.step

    @cached_property
    def codes(self) -> Codes:
        """What the converter makes of sums, for kernels."""
        converter, coding = self.converter, self.coding
        assert converter is not None
        of_reference = 1
        if coding.reference is not None:
            _, of_reference = coding.reference
        factors = []
        for of_cell in (*coding.converted, of_reference):
            # What was read counts in steps of the converter.
            factors.append([of_cell * of_slice / self.scale for of_slice in self.inputs.factors])
        return Codes(
            converter.low,
            converter.high,
            torch.tensor(factors),
            counts=coding.subtracts and coding.has_reference,
        )

    def read_(self, sums: Tensor, rows: Tensor, widths: tuple[int, ...]) -> None:
        """Disturb and convert scaled sums (a, columns, S * B) of inputs (a, r, S * B), in place.

        Args:
            sums: of all columns of the tiles, as `StripCells` has them; what is counted stays exact.
            rows: the inputs.
            widths: columns of each tile, in weights.
        """
        if self.coding.subtracts and self.coding.has_reference and self.sliced:
            sums = sums[:, :-1]
        if self.chosen.noisy_reads:
            self._disturb_(sums, rows, widths)
        if self.converter is None:
            return
        self.converter.round_(sums)
        if self.tally is not None:
            clipped = self.converter.clipped(sums)
            self.tally.clipped += int(clipped)
        self.converter.clip_(sums)

    @property
    def sliced(self) -> bool:
        """Whether sums are of single slices, see `LayerArrays.sliced`."""
        return self.chosen.adc_bits is not None or self.chosen.noisy_reads

    def _disturb_(self, sums: Tensor, rows: Tensor, widths: tuple[int, ...]) -> None:
        chosen = self.chosen
        if chosen.read_noise not in (0, PCM):
            # Independent Gaussians of all cells of a column add up to one, of the inputs' root sum of
            # squares.
            of_a_cell = float(chosen.read_noise) * self.sums.cell * self.scale
            squares = rows.square().sum(1, keepdim=True)  # (a, 1, S * B)
            deviation = squares.sqrt_().mul_(of_a_cell)
            sums += self._of_cells(sums, widths).mul_(deviation)
        if chosen.output_noise:
            of_a_sum = chosen.output_noise * self.sums.one_cell * self.scale
            sums += self._normal(sums).mul_(of_a_sum)

    def _of_cells(self, sums: Tensor, widths: tuple[int, ...]) -> Tensor:
        """The noise of columns whose cells have one of deviation 1, as it reaches the sums."""
        noise = self._normal(sums)
        if not self.coding.subtracts:
            return noise
        if not self.coding.has_reference:
            return noise.mul_(math.sqrt(2))  # of both columns of a pair
        # The reference column of a tile errs in the same way for all columns that it is subtracted from.
        activations, columns, width = sums.shape
        of_tiles = self._normal(sums.new_empty(activations, len(widths), width))
        tile = torch.arange(len(widths), device=sums.device)
        tile = tile.repeat_interleave(torch.tensor(widths, device=sums.device))
        tile = tile.repeat(columns // len(tile))
        return noise - of_tiles[:, tile]

    def _normal(self, like: Tensor) -> Tensor:
        return torch.randn(
            like.shape,
            generator=self.draw,
            dtype=like.dtype,
            device=like.device,
        )

    def keep_some(
        self,
        weights: Iterable[Factored],
        references: Iterable[Factored],
        widths: tuple[int, ...],
    ) -> None:
        """Add to the sample, if there is one, each sum with the weight of its squared error in the result.

        Args:
            weights: sums (a, c, B) of the weights' columns, slice by slice.
            references: sums (a, tiles, B) of the reference columns.
            widths: columns of each tile.
        """
        if self.sample is None:
            return
        if self.coding.subtracts:
            references = ()  # counted, and not converted
        for sums, factor in weights:
            self.sample.add(sums, factor**2)
        for sums, factor in references:
            # The error of one is that of all columns of its tile.
            for tile, width in enumerate(widths):
                self.sample.add(sums[:, tile], width * factor**2)
