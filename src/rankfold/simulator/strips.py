"""`StripReader`: the activations of strips of tiles, by torch's operations or by a compiled kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rankfold.simulator.accumulators import PhaseAccumulators
from rankfold.simulator.inputs import DrivenLines
from rankfold.simulator.kernels import ArrayKernels, kernels
from rankfold.simulator.programming import StripCells
from rankfold.simulator.reading import Factored, Reading
from rankfold.simulator.tables import StripTable

ELEMENTS_AT_ONCE = 1 << 22  # of gathered inputs and sums; more gains nothing on a CPU

Slices = list[Factored]


@dataclass(frozen=True, eq=False)
class StripReader:
    """Reads the strips of a layer for some images; `LayerArrays` has the derivation.

    Attributes:
        reading: how sums are read.
        driven: the inputs of the images.
    """

    reading: Reading
    driven: DrivenLines

    def read(self, strip: StripTable, cells: StripCells, base: Tensor, sums: PhaseAccumulators) -> None:
        """Add what is read of a strip in all activations to the sums.

        Args:
            strip: its tiles.
            cells: what they hold.
            base: (a, slots) place of the first input of each window in each activation.
            sums: of its phase.
        """
        fast = self._kernels(sums.dtype)
        if fast is None:
            self._read_by_torch(strip, cells, base, sums)
        else:
            self._read_by_kernel(fast, strip, cells, base, sums)

    def _kernels(self, dtype: torch.dtype) -> ArrayKernels | None:
        """Compiled kernels that read converted, undisturbed sums in one pass, where there are any."""
        if self.reading.converter is None or self.reading.chosen.noisy_reads:
            return None
        if dtype != torch.float32 or self.driven.dtype != torch.float32:
            return None
        if self.driven.lines.device.type != "cpu":
            return None
        return kernels()  # not compiled before anything is converted

    def _read_by_kernel(
        self, fast: ArrayKernels, strip: StripTable, cells: StripCells, base: Tensor, sums: PhaseAccumulators
    ) -> None:
        reading = self.reading
        listed = cells.listed.scaled(reading.scale)
        at_once = max(1, ELEMENTS_AT_ONCE // listed.rows)  # so that tables of places stay small
        for first in range(0, len(base), at_once):
            activations = slice(first, first + at_once)
            clipped = fast.read(
                listed,
                self.driven.lines,
                self.driven.places(base[activations], strip),
                len(reading.inputs.factors),
                codes=reading.codes,
                totals=[sums.total(number)[activations] for number in strip.sums],
                fresh=[sums.is_fresh(number) for number in strip.sums],
            )
            if reading.tally is not None:
                reading.tally.clipped += clipped

    def _read_by_torch(
        self, strip: StripTable, cells: StripCells, base: Tensor, sums: PhaseAccumulators
    ) -> None:
        # A code is a sum over the step: scaling the few cells is cheaper than scaling the many sums.
        scaled = cells.held.to(self.driven.dtype) * self.reading.scale
        for activations in self._parts(len(base), scaled):
            rows = self.driven.rows(base[activations], strip)  # (a, r, S * B)
            found = torch.matmul(scaled, rows)  # (a, J * c + tiles, S * B)
            self.reading.read_(found, rows, strip.widths)
            self._add_up(found, strip, activations, sums)

    def _parts(self, activations: int, cells: Tensor) -> Iterator[slice]:
        """The activations in parts whose gathered inputs and sums are of bounded size."""
        columns, rows = cells.shape
        _, width = self.driven.lines.shape
        elements = (columns + rows) * width  # of one activation
        at_once = max(1, ELEMENTS_AT_ONCE // elements)
        for first in range(0, activations, at_once):
            yield slice(first, first + at_once)

    def _add_up(
        self,
        found: Tensor,
        strip: StripTable,
        activations: slice,
        sums: PhaseAccumulators,
    ) -> None:
        """Add what was read of a strip in some activations, (a, J * c + tiles, S * B), to the sums."""
        # Whole weights and inputs: nothing is to be shifted, and the reference is taken off already.
        weights: Slices = [(found, 1)]
        references: Slices = []
        if self.reading.sliced:
            columns = sum(strip.widths)
            weights, references = self._slices(found, columns)
        self.reading.keep_some(weights, references, strip.widths)
        # What was read counts in steps of the converter.
        scale = self.reading.scale
        tiles = zip(strip.sums, strip.starts, strip.widths, strict=True)
        for tile, (number, start, width) in enumerate(tiles):
            parts = []
            for view, factor in weights:
                of_tile = view[:, start : start + width]  # (a, w, B)
                parts.append((of_tile, factor / scale))
            for view, factor in references:
                of_tile = view  # (a, 1, B), the same for all columns of the tile
                if view.shape[1] > 1:
                    of_tile = view[:, tile : tile + 1]
                parts.append((of_tile, factor / scale))
            sums.add(number, activations, parts)

    def _slices(self, found: Tensor, width: int) -> tuple[Slices, Slices]:
        """What was read, taken apart into cells and input slices, with the factor of each.

        Args:
            found: (a, J * width + tiles, S * B) codes.
            width: columns of the strip, in weights.

        Returns:
            those of the weights, (a, width, B) each, and those of the reference columns, (a, tiles, B), or
            what was counted of the inputs, (a, 1, B).
        """
        coding = self.reading.coding
        activations, columns, _ = found.shape
        slices = len(self.reading.inputs.factors)
        split = found.view(activations, columns, slices, -1)  # (a, J * width + tiles, S, B)
        weights: Slices = []
        first = 0
        for factor in coding.converted:
            end = first + width
            weights += self._input_slices(split[:, first:end], factor)
            first = end
        if coding.subtracts and coding.has_reference:
            counted = self._input_slices(split[:, first:], 1)
            return weights, counted
        if coding.reference is None:
            return weights, []
        _, factor = coding.reference
        references = self._input_slices(split[:, first:], factor)
        return weights, references

    def _input_slices(self, sums: Tensor, factor: int) -> Slices:
        """Sums (a, c, S, B) that count for `factor`, by input slices (a, c, B)."""
        slices = []
        for number, of_slice in enumerate(self.reading.inputs.factors):
            view = sums[:, :, number]
            slices.append((view, factor * of_slice))
        return slices
