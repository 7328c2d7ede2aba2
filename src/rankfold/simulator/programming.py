"""`Programming`: integer weights become the conductances of cells, and these what is read of them later."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from rankfold.machine import NonIdealities
from rankfold.simulator.cells import array_columns, tile_cells
from rankfold.simulator.coding import CellCoding
from rankfold.simulator.devices import age, age_signed, drop_on_lines
from rankfold.simulator.draws import Draws
from rankfold.simulator.kernels import Cells
from rankfold.simulator.schedule import Strip


@dataclass(frozen=True, eq=False)
class StripCells:
    """The cells of a strip as read.

    Attributes:
        held: (columns, r) cell levels, all of a weight's columns and the reference columns last, or the
            differences that are converted and, last, the share of the inputs that is counted; or whole
            weights (c, r), where nothing happens between the slices.
        widths: columns of each tile, in weights.
        slices: J, cells of a weight that are converted.
    """

    held: Tensor
    widths: tuple[int, ...]
    slices: int

    @cached_property
    def listed(self) -> Cells:
        """Those that are not zero, for kernels; listed once, as long as they are programmed."""
        return Cells.of(self.held, self.widths, self.slices)

    def to(self, device: torch.device) -> StripCells:
        """The same cells on a device."""
        return replace(self, held=self.held.to(device))


@dataclass(frozen=True)
class Programmed:
    """The cells of a layer after programming.

    Attributes:
        cells: for each stored matrix, for each strip.
        gain: the digital factor that takes the mean drift back.
    """

    cells: tuple[tuple[StripCells, ...], ...]
    gain: float

    def to(self, device: torch.device) -> Programmed:
        """The same cells on a device."""
        moved = []
        for strips in self.cells:
            moved.append(tuple(cells.to(device) for cells in strips))
        return Programmed(tuple(moved), self.gain)


@dataclass
class Programming:
    """One programming of a layer's arrays, strip after strip.

    Attributes:
        layer: its name, for errors.
        coding: how weights are stored.
        chosen: the non-idealities.
        array_rows: R, physical rows of an array.
        draws: where random numbers come from.
        dtype: of conductances.
        sliced: whether the sums of single slices matter; if not, the cells of a weight are put together
            again.
        total_programmed: conductance of all cells just after programming.
        total_read: of the same cells when they are read.
    """

    layer: str
    coding: CellCoding
    chosen: NonIdealities
    array_rows: int
    draws: Draws
    dtype: torch.dtype
    _: KW_ONLY
    sliced: bool
    total_programmed: float = 0.0
    total_read: float = 0.0

    @property
    def gain(self) -> float:
        """The factor that takes the mean drift of the cells so far back; 1 where that is not wanted."""
        compensated = self.chosen.drift and self.chosen.drift_compensation
        if not compensated or self.total_read <= 0:
            return 1.0
        return self.total_programmed / self.total_read

    def store(self, strip: Strip, weight: Tensor) -> StripCells:
        """Program the cells of a strip.

        Args:
            strip: its tiles.
            weight: (m, C_in/G, kh, kw) integers on the CPU.
        """
        levels = tile_cells(weight, strip, self.coding, self.layer)
        rows, columns, slices = levels.shape
        weights: list[Tensor] = []
        references: list[Tensor] = []
        for start, width in zip(strip.starts, strip.widths, strict=True):
            end = start + width
            tile = levels[:, start:end]
            # (r, w * J), and the reference of this tile, if there is one.
            read = self._read(tile, strip.first_row)
            cells = width * slices
            of_weights = read[:, :cells]
            weights.append(of_weights.reshape(rows, width, slices))
            references.append(read[:, cells:])
        highest = self.coding.highest
        # (J, c, r), so that one product gives all sums of a slice side by side.
        held = torch.cat(weights, 1).permute(2, 1, 0)
        held = held * highest
        reference = torch.cat(references, 1).T  # (tiles, r), or (0, r)
        reference = reference * highest
        if self.coding.subtracts:
            read = self._differences(held, reference, strip)
        elif self.sliced:
            by_column = held.reshape(slices * columns, rows)
            read = torch.cat([by_column, reference])
        else:
            read = self._whole(held, reference, strip.widths)
        return StripCells(read, strip.widths, len(self.coding.converted))

    def _differences(self, held: Tensor, reference: Tensor, strip: Strip) -> Tensor:
        """What is converted of cells (J, c, r) and reference columns (tiles, r), as `StripCells` has it.

        Currents are subtracted row by row, so a difference of sums is the sum over differences of cells.
        """
        rows = held.shape[-1]
        if self.coding.has_reference:
            digits = held - _of_columns(reference, strip.widths)
        else:
            pairs = len(self.coding.converted)
            digits = held[:pairs] - held[pairs:]
        shares = self.coding.input_shares(rows, strip.first_row)
        if not self.sliced:
            factors = digits.new_tensor(self.coding.converted)
            weights = torch.tensordot(factors, digits, 1)
            if shares is None:
                return weights
            return weights + shares
        by_column = digits.reshape(-1, rows)
        if shares is None:
            return by_column
        return torch.cat([by_column, shares.to(by_column.dtype)[None]])

    def _read(self, cells: Tensor, first_row: int) -> Tensor:
        """The conductances, relative, of one tile's cells (r, w, J): (r, w * J), and a reference's column.

        The cells are those of the rows from `first_row` on, which alone are driven at a time.
        """
        chosen = self.chosen
        columns = array_columns(cells, self.coding, first_row)
        target = columns.to(self.dtype) / self.coding.highest
        if not chosen.changes_cells:
            return target
        if self.coding.signed:
            programmed, read = age_signed(target, chosen, self.draws)
        else:
            programmed, read = age(target, chosen, self.draws)
        self.total_programmed += float(programmed.abs().sum())
        self.total_read += float(read.abs().sum())
        if not chosen.ir_drop:
            return read
        # Rows that are not driven carry no current; lines are as long as they are.
        return drop_on_lines(read, chosen.ir_drop, self.array_rows - first_row, self.layer)

    def _whole(
        self,
        held: Tensor,
        reference: Tensor,
        widths: tuple[int, ...],
    ) -> Tensor:
        """(c, r) weights of cells (J, c, r), less the reference (tiles, r) of each tile of these widths.

        The sum over rows is linear in the cells: to add a weight's columns up before it or after it is the
        same.
        """
        factors = held.new_tensor(self.coding.factors)  # (J,)
        weights = torch.tensordot(factors, held, 1)
        if self.coding.reference is None:
            return weights
        _, factor = self.coding.reference
        return weights + factor * _of_columns(reference, widths)


def _of_columns(of_tiles: Tensor, widths: tuple[int, ...]) -> Tensor:
    """(c, r) the line (tiles, r) of each column's tile."""
    return of_tiles.repeat_interleave(torch.tensor(widths), 0)
