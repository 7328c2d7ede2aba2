"""`LayerArrays`: the arrays that hold one layer, programmed with its weights and run on its inputs."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from rankfold.machine import NonIdealities
from rankfold.simulator.accumulators import PhaseAccumulators
from rankfold.simulator.coding import CellCoding, InputCoding
from rankfold.simulator.converter import Converter, Sums, SumSample
from rankfold.simulator.draws import Draws
from rankfold.simulator.inputs import InputDriver
from rankfold.simulator.programming import Programmed, Programming, StripCells
from rankfold.simulator.reading import Reading, Tally
from rankfold.simulator.schedule import Schedule
from rankfold.simulator.strips import StripReader
from rankfold.simulator.tables import PhaseTable

EXACT_IN_SINGLE = 1 << 24  # whole numbers up to this are exact in float32
IMAGES_AT_ONCE = 128
ELEMENTS_OF_MAPS = 1 << 24  # of feature maps, driven slices or outputs

Tables = tuple[PhaseTable, ...]
Pair = tuple[int, int]


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
        held: dict[int, tuple[StripCells, ...]] = {}
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
            inputs=self.input_coding,
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
        if self._driver.lacks_padding(levels):
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
    # (J = S = 1) give the same, and are what `Programmed` and `DrivenLines` then hold. All numbers are whole:
    # `_analog_type` has room for one sum and `_sum_type` for an accumulator, so no addition rounds.
    def _run(self, levels: Tensor, programmed: Programmed, reading: Reading) -> Tensor:
        """(m * OH * OW, B) accumulators of some images."""
        images = len(levels)
        sum_type = self._sum_type(levels)
        driven = self._driver.drive(levels, self._analog_type(sum_type))
        reader = StripReader(reading, driven)
        pixels = math.prod(self.schedule.output)
        device = levels.device
        result = torch.zeros(pixels, images, dtype=sum_type, device=device)
        for phase in self._on(device):
            sums = PhaseAccumulators(phase, images, sum_type, device)
            stored = programmed.cells[phase.stored]
            for strip, cells in zip(phase.strips, stored, strict=True):
                reader.read(strip, cells, phase.base, sums)
                sums.end_strip(strip)
            sums.place(result)
        return result

    @cached_property
    def _driver(self) -> InputDriver:
        return InputDriver(self.input_coding, self.schedule.input, self.schedule.padding, self.sliced)

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

    def _on(self, device: torch.device) -> Tables:
        if device not in self._tables:
            tables = []
            for phase in self.schedule.phases:
                tables.append(PhaseTable.of(phase, device))
            self._tables[device] = tuple(tables)
        return self._tables[device]
