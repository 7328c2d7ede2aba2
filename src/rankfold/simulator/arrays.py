"""`LayerArrays`: the arrays that hold one layer, programmed with its weights and run on its inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from rankfold.machine import NonIdealities
from rankfold.simulator.accumulators import PhaseAccumulators
from rankfold.simulator.coding import CellCoding, InputCoding
from rankfold.simulator.converter import Converter, Sums, SumSample
from rankfold.simulator.draws import Draws
from rankfold.simulator.inputs import DrivenLines
from rankfold.simulator.kernels import ArrayKernels, Cells, Codes, kernels
from rankfold.simulator.programming import Programmed, Programming
from rankfold.simulator.reading import Factored, Reading, Tally
from rankfold.simulator.schedule import Schedule
from rankfold.simulator.tables import PhaseTable, StripTable

EXACT_IN_SINGLE = 1 << 24  # whole numbers up to this are exact in float32
IMAGES_AT_ONCE = 128
ELEMENTS_AT_ONCE = 1 << 22  # of gathered inputs and sums; more gains nothing on a CPU
ELEMENTS_OF_MAPS = 1 << 24  # of feature maps, driven slices or outputs

Tables = tuple[PhaseTable, ...]
Pair = tuple[int, int]
Slices = list[Factored]


@dataclass(frozen=True, eq=False)
class LayerArrays:
    """One layer on its arrays.

    Attributes:
        name: of the layer, for errors.
        schedule: the activations.
        cell_coding: how weights are stored.
        input_coding: how inputs are driven.
        chosen: the non-idealities.
        array_rows: R.
        dtype: of analog arithmetic at the least, float32 or float64.
    """

    name: str
    schedule: Schedule
    cell_coding: CellCoding
    input_coding: InputCoding
    chosen: NonIdealities
    array_rows: int
    _: KW_ONLY
    dtype: torch.dtype = torch.float32
    # Made once for each device, as long as the arrays are there.
    _tables: dict[torch.device, Tables] = field(
        default_factory=dict,
        repr=False,
    )
    _places: dict[torch.device, Tensor] = field(
        default_factory=dict,
        repr=False,
    )

    @property
    def sums(self) -> Sums:
        """What one conversion can see."""
        cells = self.cell_coding
        return Sums(
            self.schedule.rows,
            self.input_coding.highest,
            cells.highest,
            signed=cells.signed or cells.subtracts or self.input_coding.driven_negative,
            digit=cells.largest_digit,
        )

    @property
    def sliced(self) -> bool:
        """Whether something happens to the sums of single slices.

        If not, whole weights and inputs give the same result.
        """
        return self.chosen.adc_bits is not None or self.chosen.noisy_reads

    @property
    def cycles(self) -> int:
        """Activations of arrays for one image, input slice by input slice."""
        return self.schedule.cycles * len(self.input_coding.factors)

    def is_exact(self, converter: Converter | None) -> bool:
        """Whether the arrays compute the convolution of integers exactly.

        It may then be computed in any other way.
        """
        if self.chosen.changes_cells or self.chosen.noisy_reads:
            return False
        return converter is None or converter.reads_exactly(self.sums)

    @property
    def conversions(self) -> int:
        """Conversions for one image."""
        if self.chosen.adc_bits is None:
            return 0
        slices = len(self.cell_coding.converted)
        references = 0
        if self.cell_coding.reference is not None:
            references = 1
        total = 0
        for phase in self.schedule.phases:
            for strip in phase.strips:
                columns = sum(strip.widths) * slices
                columns += len(strip.widths) * references
                total += len(phase.base) * columns
        return total * len(self.input_coding.factors)

    def program(self, weight: Tensor, draws: Draws) -> Programmed:
        """Program the integer weights (m, C_in/G, kh, kw) into cells, every copy of a weight separately."""
        programming = Programming(
            self.name,
            self.cell_coding,
            self.chosen,
            self.array_rows,
            draws,
            self.dtype,
            sliced=self.sliced,
        )
        held: dict[int, tuple[Tensor, ...]] = {}
        for phase in self.schedule.phases:
            # Regions that store the same matrix take turns at the same arrays.
            if phase.stored not in held:
                stored = [programming.store(strip, weight) for strip in phase.strips]
                held[phase.stored] = tuple(stored)
        # Matrices are numbered in the order in which their first region comes.
        cells = tuple(held.values())
        return Programmed(cells, programming.gain)

    def run(
        self,
        levels: Tensor,
        programmed: Programmed,
        converter: Converter | None,
        draw: torch.Generator | None,
        *,
        tally: Tally | None = None,
        sample: SumSample | None = None,
    ) -> Tensor:
        """Accumulators (B, m, OH, OW): whole numbers as long as nothing disturbs them.

        Args:
            levels: (B, C_in, H, W) integer inputs, of a floating type, or (B, C_in, Hp, Wp) with padding
                other than zeros.
            programmed: the cells, on the device of `levels`.
            converter: reads the sums; None: exactly.
            draw: of read and output noise, on the device of `levels`.
            tally: where to count conversions.
            sample: where to gather sums, which are then read exactly.
        """
        reading = Reading(
            self.chosen,
            self.sums,
            converter,
            draw,
            coding=self.cell_coding,
            tally=tally,
            sample=sample,
        )
        outputs = math.prod(self.schedule.output)
        driven = levels[0].numel()
        if self.sliced:
            driven *= len(self.input_coding.factors)
        at_once = ELEMENTS_OF_MAPS // max(driven, outputs)
        at_once = max(1, min(IMAGES_AT_ONCE, at_once))
        result = torch.empty(
            len(levels),
            outputs,
            dtype=self._sum_type(levels),
            device=levels.device,
        )
        for first in range(0, len(levels), at_once):
            images = slice(first, first + at_once)
            accumulators = self._run(levels[images], programmed, reading)
            result[images] = accumulators.T
        if programmed.gain != 1.0:
            result.mul_(programmed.gain)
        m, height, width = self.schedule.output
        return result.view(-1, m, height, width)

    def exact(
        self,
        levels: Tensor,
        weight: Tensor,
        stride: Pair,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        """The same accumulators by one matrix product over all windows, for arrays that are exact.

        Args:
            levels: as for `run`.
            weight: (m, C_in/G, kh, kw) integers.
            stride: of the convolution.
            dilation: of the convolution.
            groups: G of the convolution.
        """
        dtype = self._sum_type(levels)
        if self._lacks_padding(levels):
            top, bottom, left, right = self.schedule.padding
            borders = (left, right, top, bottom)
            levels = F.pad(levels, borders)
        sums = F.conv2d(
            levels.to(dtype),
            weight.to(dtype),
            stride=stride,
            dilation=dilation,
            groups=groups,
        )
        return sums.round_()  # exact as it is, unless the library multiplies in another basis (Winograd)

    # How `_run` computes, and why it is exact
    #
    #   b       an image, of B                   s    slice of an input, which counts f_s (`InputCoding`)
    #   l       a place of the feature map       j    cell of a weight, of J, which counts g_j (`CellCoding`)
    #   a       an activation                    r    row of a strip;  c    column of it, in weights
    #
    # Inputs are x[l, b] = sum_s f_s x[l, s, b], by their slices. Weights are w[c, r] = sum_j g_j k[j, c, r],
    # by their cells; with offset coding g_ref k_ref[r] is added, of the reference column of the tile.
    # Activation a drives row r with the input at l(a, r) = base[a] + offset[r]. Columns, slices and images
    # see the same rows, so one product of matrices (J c + tiles, r) and (r, S B) for each a,
    #
    #   sum[a, (j, c), (s, b)] = sum_r k[(j, c), r] x[l(a, r), s, b],
    #
    # gives every sum that a converter sees. Each of them is read by itself; behind the converters, shifts and
    # additions make of them
    #
    #   y[a, c, b] = sum_s f_s (sum_j g_j sum[a, (j, c), (s, b)] + g_ref sum[a, ref, (s, b)]),
    #
    # where differences are converted, k is what is left of each cell, and in place of the reference columns
    # one line holds the share of each row's input (`CellCoding`), whose sum is counted and not converted,
    #
    # added up over the strips that hold further rows of the same columns. Every output pixel takes the y of
    # those activations and columns that the mapping gives to it (`Placement`).
    #
    # If all sums are read exactly, y[a, c, b] = sum_r w[c, r] x[l(a, r), b] follows, as they are linear in
    # both k and x: this is the convolution. Where nothing happens to single slices, whole weights and inputs
    # (J = S = 1) give the same, and are what `Programmed` and `_driven` then hold. All numbers are whole:
    # `_analog_type` has room for one sum and `_sum_type` for an accumulator, so no addition rounds.
    def _run(self, levels: Tensor, programmed: Programmed, reading: Reading) -> Tensor:
        """(m * OH * OW, B) accumulators of some images."""
        images = len(levels)
        sum_type = self._sum_type(levels)
        driven = self._driven(levels)
        pixels = math.prod(self.schedule.output)
        device = levels.device
        result = torch.zeros(pixels, images, dtype=sum_type, device=device)
        for phase in self._on(device):
            sums = PhaseAccumulators(phase, images, sum_type, device)
            stored = programmed.cells[phase.stored]
            for strip, cells in zip(phase.strips, stored, strict=True):
                # A code is a sum over the step: scaling the few cells is cheaper than scaling the many sums.
                cells = cells.to(driven.dtype) * reading.scale
                self._read_strip(cells, strip, phase.base, driven=driven, sums=sums, reading=reading)
                sums.end_strip(strip)
            sums.place(result)
        return result

    def _read_strip(
        self,
        cells: Tensor,
        strip: StripTable,
        base: Tensor,
        *,
        driven: DrivenLines,
        sums: PhaseAccumulators,
        reading: Reading,
    ) -> None:
        """Add what is read of a strip, with scaled cells, in all activations to the sums."""
        fast = None
        if reading.converter is not None and sums.dtype == torch.float32:
            fast = self._kernels(driven)  # not compiled before anything is converted
        if fast is not None:
            self._read_by(fast, cells, strip, base, driven=driven, sums=sums, reading=reading)
            return
        for activations in _parts(len(base), cells, driven):
            rows = driven.rows(base[activations], strip)  # (a, r, S * B)
            found = torch.matmul(cells, rows)  # (a, J * c + tiles, S * B)
            reading.read_(found, rows, strip.widths)
            self._add_up(found, strip, activations, sums, reading)

    def _read_by(
        self,
        fast: ArrayKernels,
        cells: Tensor,
        strip: StripTable,
        base: Tensor,
        *,
        driven: DrivenLines,
        sums: PhaseAccumulators,
        reading: Reading,
    ) -> None:
        """As `_read_strip`, by compiled kernels: sums that a converter reads undisturbed."""
        assert reading.converter is not None
        listed = Cells.of(cells, strip.widths, len(self.cell_coding.converted))
        at_once = max(1, ELEMENTS_AT_ONCE // listed.rows)  # so that tables of places stay small
        for first in range(0, len(base), at_once):
            activations = slice(first, first + at_once)
            clipped = fast.read(
                listed,
                driven.lines,
                driven.places(base[activations], strip),
                len(self.input_coding.factors),
                codes=self._codes(reading.converter),
                totals=[sums.total(number)[activations] for number in strip.sums],
                fresh=[sums.is_fresh(number) for number in strip.sums],
            )
            if reading.tally is not None:
                reading.tally.clipped += clipped

    def _kernels(self, driven: DrivenLines) -> ArrayKernels | None:
        """Compiled kernels that read undisturbed sums in one pass, where there are any."""
        is_plain = driven.lines.device.type == "cpu" and driven.dtype == torch.float32
        if not is_plain or self.chosen.noisy_reads:
            return None
        return kernels()

    def _codes(self, converter: Converter) -> Codes:
        coding = self.cell_coding
        of_reference = 1
        if coding.reference is not None:
            _, of_reference = coding.reference
        factors = []
        for of_cell in (*coding.converted, of_reference):
            # What was read counts in steps of the converter.
            scale = 1 / converter.step
            factors.append([of_cell * of_slice / scale for of_slice in self.input_coding.factors])
        return Codes(
            converter.low,
            converter.high,
            torch.tensor(factors),
            counts=coding.subtracts and coding.has_reference,
        )

    def _add_up(
        self,
        found: Tensor,
        strip: StripTable,
        activations: slice,
        sums: PhaseAccumulators,
        reading: Reading,
    ) -> None:
        """Add what was read of a strip in some activations, (a, J * c + tiles, S * B), to the sums."""
        # Whole weights and inputs: nothing is to be shifted, and the reference is taken off already.
        weights: Slices = [(found, 1)]
        references: Slices = []
        if self.sliced:
            columns = sum(strip.widths)
            weights, references = self._slices(found, columns)
        reading.keep_some(weights, references, strip.widths)
        # What was read counts in steps of the converter.
        scale = reading.scale
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
        coding = self.cell_coding
        activations, columns, _ = found.shape
        slices = len(self.input_coding.factors)
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
        for number, of_slice in enumerate(self.input_coding.factors):
            view = sums[:, :, number]
            slices.append((view, factor * of_slice))
        return slices

    def _sum_type(self, levels: Tensor) -> torch.dtype:
        """A type in which the accumulators, and all that is added up on the way to them, are exact."""
        if levels.dtype == torch.float64:
            return torch.float64
        lines = 0
        for phase in self.schedule.phases:
            for strip in phase.strips:
                lines += len(strip.offset)
        # Every row adds at most a weight, with its offset below 2^b, times an input.
        bits = self.cell_coding.weight_bits + self.input_coding.bits
        largest = lines << bits
        if largest >= EXACT_IN_SINGLE:
            return torch.float64
        return torch.float32

    def _analog_type(self, sum_type: torch.dtype) -> torch.dtype:
        """A type in which the sums of one conversion are exact."""
        if not self.sliced:
            return sum_type
        if self.sums.largest >= EXACT_IN_SINGLE:
            return sum_type
        return self.dtype

    def _lacks_padding(self, levels: Tensor) -> bool:
        """Whether zeros are to be added around the inputs, rather than being among them already."""
        if not any(self.schedule.padding):
            return False
        return levels.shape[1:] == self.schedule.input

    def _driven(self, levels: Tensor) -> DrivenLines:
        """The inputs (B, C_in, H, W) as rows are driven with them."""
        lines = self._lines(levels)
        dtype = self._analog_type(self._sum_type(levels))
        if self.sliced and len(self.input_coding.factors) > 1:
            # Slices are cut out bit by bit; narrow numbers are quicker to pass over.
            kind = torch.int16 if self.input_coding.bits < 16 else torch.int32
            whole = lines.to(kind)
            slices = len(self.input_coding.factors)
            driven = torch.empty(len(lines), slices, lines.shape[1], dtype=dtype, device=lines.device)
            for number, part in enumerate(self.input_coding.slices(whole)):
                driven[:, number] = part
            lines = driven.view(len(lines), -1)  # (lines, S * B)
        lines = lines.to(dtype)
        if self._lacks_padding(levels):
            return DrivenLines(lines, self._inside(levels.device))
        return DrivenLines(lines, None)

    def _lines(self, levels: Tensor) -> Tensor:
        """(C_in * H * W, B) inputs, one image a column.

        Where padding is to be added, a line of zeros at the end stands for all of it.
        """
        flat = levels.reshape(len(levels), -1)
        if not self._lacks_padding(levels):
            return flat.T.contiguous()
        images, places = flat.shape
        lines = flat.new_empty(places + 1, images)
        lines[:-1].copy_(flat.T)
        lines[-1] = 0
        return lines

    def _inside(self, device: torch.device) -> Tensor:
        """(C_in * Hp * Wp,) for each place of the padded feature map the line that holds it."""
        if device not in self._places:
            top, bottom, left, right = self.schedule.padding
            places = math.prod(self.schedule.input)
            lines = torch.arange(places).view(self.schedule.input)
            borders = (left, right, top, bottom)
            padded = F.pad(lines, borders, value=places)  # the line of zeros comes after all others
            flat = padded.reshape(-1)
            self._places[device] = flat.to(device)
        return self._places[device]

    def _on(self, device: torch.device) -> Tables:
        if device not in self._tables:
            tables = []
            for phase in self.schedule.phases:
                tables.append(PhaseTable.of(phase, device))
            self._tables[device] = tuple(tables)
        return self._tables[device]


def _parts(activations: int, cells: Tensor, driven: DrivenLines) -> Iterator[slice]:
    """The activations in parts whose gathered inputs and sums are of bounded size."""
    columns, rows = cells.shape
    _, width = driven.lines.shape
    elements = (columns + rows) * width  # of one activation
    at_once = max(1, ELEMENTS_AT_ONCE // elements)
    for first in range(0, activations, at_once):
        yield slice(first, first + at_once)
