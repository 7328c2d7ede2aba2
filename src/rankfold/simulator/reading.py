"""`Reading`: what happens to the sums at the columns before they are digital numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from rankfold.machine import PCM, NonIdealities
from rankfold.simulator.converter import Converter, Sums, SumSample

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
        tally: where to count what clips.
        sample: where to gather sums.
    """

    chosen: NonIdealities
    sums: Sums
    converter: Converter | None
    draw: torch.Generator | None
    _: KW_ONLY
    tally: Tally | None
    sample: SumSample | None

    @property
    def scale(self) -> float:
        """What sums are multiplied by before they are read: by one over the converter's step."""
        if self.converter is None:
            return 1.0
        return 1 / self.converter.step

    def read_(self, sums: Tensor, rows: Tensor) -> None:
        """Disturb and convert scaled sums (a, columns, S * B) of inputs (a, r, S * B), in place."""
        if self.chosen.noisy_reads:
            self._disturb_(sums, rows)
        if self.converter is None:
            return
        self.converter.round_(sums)
        if self.tally is not None:
            clipped = self.converter.clipped(sums)
            self.tally.clipped += int(clipped)
        self.converter.clip_(sums)

    def _disturb_(self, sums: Tensor, rows: Tensor) -> None:
        chosen = self.chosen
        if chosen.read_noise not in (0, PCM):
            # Independent Gaussians of all cells of a column add up to one, of the inputs' root sum of
            # squares.
            of_a_cell = float(chosen.read_noise) * self.sums.cell * self.scale
            squares = rows.square().sum(1, keepdim=True)  # (a, 1, S * B)
            deviation = squares.sqrt_().mul_(of_a_cell)
            sums += self._normal(sums).mul_(deviation)
        if chosen.output_noise:
            of_a_sum = chosen.output_noise * self.sums.one_cell * self.scale
            sums += self._normal(sums).mul_(of_a_sum)

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
        for sums, factor in weights:
            self.sample.add(sums, factor**2)
        for sums, factor in references:
            # The error of one is that of all columns of its tile.
            for tile, width in enumerate(widths):
                self.sample.add(sums[:, tile], width * factor**2)
