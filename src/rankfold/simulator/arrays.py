"""`LayerArrays`: the arrays that hold one layer, programmed with its weights and run on its inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from rankfold.simulator.coding import CellCoding, InputCoding
from rankfold.simulator.converter import Converter, Sums, SumSample
from rankfold.simulator.devices import age, age_signed, drop_on_lines
from rankfold.simulator.draws import Draws
from rankfold.simulator.nonideal import PCM, ArrayNonIdealities
from rankfold.simulator.schedule import Schedule, Strip
from rankfold.simulator.tables import PhaseTable

EXACT_IN_SINGLE = 1 << 24  # whole numbers up to this are exact in float32
IMAGES_AT_ONCE = 128
ELEMENTS_AT_ONCE = 1 << 22  # of gathered inputs and sums; more gains nothing on a CPU
ELEMENTS_OF_MAPS = 1 << 24  # of feature maps, driven slices or outputs

Slices = list[tuple[Tensor, int]]


@dataclass
class Tally:
    """What a layer's arrays did: images, activations of arrays, conversions, and how many of these clipped."""

    images: int = 0
    activations: int = 0
    conversions: int = 0
    clipped: int = 0


@dataclass(frozen=True)
class Programmed:
    """The cells of a layer after programming.

    Attributes:
        cells: for each stored matrix, for each strip, (columns, r): cell levels as read, all of a weight's columns and the
            reference columns last; or whole weights (c, r), where nothing happens between the slices.
        gain: the digital factor that takes the mean drift back.
    """

    cells: tuple[tuple[Tensor, ...], ...]
    gain: float


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
    chosen: ArrayNonIdealities
    array_rows: int
    dtype: torch.dtype = torch.float32
    _tables: dict[torch.device, tuple[PhaseTable, ...]] = field(default_factory=dict, repr=False)
    _places: dict[torch.device, Tensor] = field(default_factory=dict, repr=False)

    @property
    def sums(self) -> Sums:
        """What one conversion can see."""
        signed = self.cell_coding.signed or self.input_coding.driven_negative
        return Sums(self.schedule.rows, self.input_coding.highest, self.cell_coding.highest, signed)

    @property
    def sliced(self) -> bool:
        """Whether something happens to the sums of single slices; if not, whole weights and inputs give the same result."""
        return self.chosen.adc_bits is not None or self.chosen.noisy_reads

    @property
    def cycles(self) -> int:
        """Activations of arrays for one image, input slice by input slice."""
        return self.schedule.cycles * len(self.input_coding.factors)

    def is_exact(self, converter: Converter | None) -> bool:
        """Whether the arrays compute the convolution of integers exactly, so that it may be computed in any other way."""
        if self.chosen.changes_cells or self.chosen.noisy_reads:
            return False
        return converter is None or converter.reads_exactly(self.sums)

    @property
    def conversions(self) -> int:
        """Conversions for one image."""
        extra = self.cell_coding.reference is not None
        columns = sum(
            len(phase.base) * (sum(strip.widths) * len(self.cell_coding.factors) + extra * len(strip.widths))
            for phase in self.schedule.phases
            for strip in phase.strips
        )
        return columns * len(self.input_coding.factors) if self.chosen.adc_bits is not None else 0

    def program(self, weight: Tensor, draws: Draws) -> Programmed:
        """Program the integer weights (m, C_in/G, kh, kw) into cells, every copy of a weight separately."""
        flat = weight.reshape(-1)
        held: dict[int, tuple[Tensor, ...]] = {}
        totals = [0.0, 0.0]
        for phase in self.schedule.phases:
            if phase.stored not in held:
                held[phase.stored] = tuple(self._store(strip, flat, draws, totals) for strip in phase.strips)
        compensate = self.chosen.drift and self.chosen.drift_compensation and totals[1] > 0
        return Programmed(tuple(held[number] for number in range(len(held))), totals[0] / totals[1] if compensate else 1.0)

    def run(
        self,
        levels: Tensor,
        programmed: Programmed,
        converter: Converter | None,
        draw: torch.Generator | None,
        tally: Tally | None = None,
        sample: SumSample | None = None,
    ) -> Tensor:
        """Accumulators (B, m, OH, OW): whole numbers as long as nothing disturbs them.

        Args:
            levels: (B, C_in, H, W) integer inputs, of a floating type, or (B, C_in, Hp, Wp) with padding other than zeros.
            programmed: the cells, on the device of `levels`.
            converter: reads the sums; None: exactly.
            draw: of read and output noise, on the device of `levels`.
            tally: where to count conversions.
            sample: where to gather sums, which are then read exactly.
        """
        outputs = self.schedule.output
        driven = levels[0].numel() * len(self.input_coding.factors) if self.sliced else levels[0].numel()
        at_once = max(1, min(IMAGES_AT_ONCE, ELEMENTS_OF_MAPS // max(driven, math.prod(outputs))))
        result = torch.empty(len(levels), math.prod(outputs), dtype=self._sum_type(levels), device=levels.device)
        for part, target in zip(torch.split(levels, at_once), torch.split(result, at_once), strict=True):
            target.copy_(self._run(part, programmed, converter, draw, tally, sample).T)
        if programmed.gain != 1.0:
            result.mul_(programmed.gain)
        return result.view(len(levels), *outputs)

    def exact(self, levels: Tensor, weight: Tensor, stride: tuple[int, int], dilation: tuple[int, int], groups: int) -> Tensor:
        """The same accumulators by one matrix product over all windows, for arrays that are exact (`is_exact`).

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
            levels = F.pad(levels, (left, right, top, bottom))
        found = F.conv2d(levels.to(dtype), weight.to(dtype), stride=stride, dilation=dilation, groups=groups)
        return found.round_()  # exact as it is, unless the library multiplies in another basis (Winograd)

    def _sum_type(self, levels: Tensor) -> torch.dtype:
        """A type in which the accumulators, and all that is added up on the way to them, are exact."""
        lines = sum(len(strip.offset) for phase in self.schedule.phases for strip in phase.strips)
        largest = lines << self.cell_coding.weight_bits + self.input_coding.bits
        return torch.float64 if largest >= EXACT_IN_SINGLE or levels.dtype == torch.float64 else torch.float32

    def _lacks_padding(self, levels: Tensor) -> bool:
        return any(self.schedule.padding) and levels.shape[1:] == self.schedule.input

    def _lines(self, levels: Tensor) -> Tensor:
        """(C_in * H * W, B) inputs, one image a column: to gather an input is then one contiguous copy for all of them.

        Where padding is to be added, a line of zeros at the end stands for all of it.
        """
        flat = levels.reshape(len(levels), -1)
        if not self._lacks_padding(levels):
            return flat.T.contiguous()
        lines = flat.new_empty(flat.shape[1] + 1, len(flat))
        lines[:-1].copy_(flat.T)
        lines[-1] = 0
        return lines

    def _inside(self, device: torch.device) -> Tensor:
        """(C_in * Hp * Wp,) for each place of the padded feature map the line that holds it."""
        if device not in self._places:
            top, bottom, left, right = self.schedule.padding
            lines = torch.arange(math.prod(self.schedule.input)).view(self.schedule.input)
            self._places[device] = F.pad(lines, (left, right, top, bottom), value=lines.numel()).reshape(-1).to(device)
        return self._places[device]

    def _analog_type(self, sum_type: torch.dtype) -> torch.dtype:
        """A type in which the sums of one conversion are exact."""
        if not self.sliced or self.sums.largest >= EXACT_IN_SINGLE:
            return sum_type
        return self.dtype

    def _store(self, strip: Strip, flat: Tensor, draws: Draws, totals: list[float]) -> Tensor:
        """(columns, r) cells of a strip; `totals` adds up all conductance as programmed and as read."""
        coding = self.cell_coding
        index = torch.from_numpy(strip.weight_index)
        levels = torch.where(index >= 0, flat[index.clamp(min=0)], 0)
        cells = coding.encode(levels, self.name).to(self.dtype) / coding.highest  # (r, c, J)
        rows, columns, slices = cells.shape
        stored, references = [], []
        for start, width in zip(strip.starts, strip.widths, strict=True):
            tile = cells[:, start : start + width].reshape(rows, width * slices)
            if coding.reference is not None:
                tile = torch.cat([tile, tile.new_full((rows, 1), coding.reference[0] / coding.highest)], 1)
            if self.chosen.changes_cells:
                tile = self._age(tile, draws, totals)
            stored.append(tile[:, : width * slices].reshape(rows, width, slices))
            references.append(tile[:, width * slices :])
        # (J, c, r), so that one product gives all sums of a slice side by side.
        held = torch.cat(stored, 1).permute(2, 1, 0) * coding.highest
        reference = torch.cat(references, 1).T * coding.highest  # (tiles, r), or (0, r)
        if self.sliced:
            return torch.cat([held.reshape(slices * columns, rows), reference])
        whole = torch.tensordot(held.new_tensor(coding.factors), held, 1)  # (c, r)
        if coding.reference is not None:
            whole += coding.reference[1] * reference.repeat_interleave(torch.tensor(strip.widths), 0)
        return whole

    def _age(self, tile: Tensor, draws: Draws, totals: list[float]) -> Tensor:
        programmed, read = (age_signed if self.cell_coding.signed else age)(tile, self.chosen, draws)
        totals[0] += float(programmed.abs().sum())
        totals[1] += float(read.abs().sum())
        return drop_on_lines(read, self.chosen.ir_drop, self.array_rows, self.name) if self.chosen.ir_drop else read

    def _run(
        self, levels: Tensor, programmed: Programmed, converter: Converter | None, draw: torch.Generator | None,
        tally: Tally | None, sample: SumSample | None,
    ) -> Tensor:  # fmt: skip
        """(m * OH * OW, B) accumulators of some images."""
        images = len(levels)
        sum_type = self._sum_type(levels)
        lines = self._lines(levels)
        inside = self._inside(levels.device) if self._lacks_padding(levels) else None
        if self.sliced and len(self.input_coding.factors) > 1:
            driven = self.input_coding.slices(lines.to(torch.int32))  # (S, lines, B)
            lines = driven.permute(1, 0, 2).reshape(lines.shape[0], -1)  # (lines, S * B)
        lines = lines.to(self._analog_type(sum_type))
        m, height, width = self.schedule.output
        result = torch.zeros(m * height * width, images, dtype=sum_type, device=levels.device)
        for phase in self._on(levels.device):
            sums = [
                torch.empty(len(phase.base), place.columns, images, dtype=sum_type, device=levels.device)
                for place in phase.placements
            ]
            begun: set[int] = set()  # the first row tile of some columns writes their sums, the others add to them
            for strip, cells in zip(phase.strips, programmed.cells[phase.stored], strict=True):
                # A code is a sum over the step: scaling the few cells is cheaper than scaling the many sums.
                scale = 1.0 if converter is None else 1 / converter.step
                cells = cells.to(lines.dtype) * scale
                per_activation = (cells.shape[0] + cells.shape[1]) * lines.shape[1]
                at_once = max(1, ELEMENTS_AT_ONCE // per_activation)
                for first in range(0, len(phase.base), at_once):
                    base = phase.base[first : first + at_once]
                    where = (base if strip.slot is None else base[:, strip.slot]) + strip.offset  # (a, r)
                    if inside is not None:
                        where = inside[where]
                    rows = lines.index_select(0, where.reshape(-1)).view(*where.shape, -1)  # (a, r, S * B)
                    found = torch.matmul(cells, rows)  # (a, columns, S * B)
                    if self.chosen.noisy_reads:
                        self._disturb_(found, rows, scale, draw)
                    if converter is not None:
                        converter.round_(found)
                        if tally is not None:
                            tally.clipped += int(converter.clipped(found))
                        converter.clip_(found)
                    weights, references = self._slices(found, sum(strip.widths)) if self.sliced else ([(found, 1)], [])
                    if sample is not None:
                        for view, factor in weights:
                            sample.add(view, factor**2)
                        for view, factor in references:  # the error of one is that of all columns of its tile
                            for tile, wide in enumerate(strip.widths):
                                sample.add(view[:, tile], wide * factor**2)
                    for tile, (number, start, wide) in enumerate(zip(strip.sums, strip.starts, strip.widths, strict=True)):
                        parts = [(view[:, start : start + wide], factor / scale) for view, factor in weights]
                        parts += [(view[:, tile : tile + 1], factor / scale) for view, factor in references]
                        _gather_(sums[number][first : first + at_once], parts, fresh=number not in begun)
                begun.update(strip.sums)
            for place, total in zip(phase.placements, sums, strict=True):
                place.add(result, total.view(-1, images))
        return result

    def _disturb_(self, found: Tensor, rows: Tensor, scale: float, draw: torch.Generator | None) -> None:
        """Add the noise of a read to sums (a, columns, S * B) of inputs (a, r, S * B), both of them scaled."""
        chosen = self.chosen
        if chosen.read_noise not in (0, PCM):
            # Independent Gaussians of all cells of a column add up to one, of the inputs' root sum of squares.
            deviation = (
                rows.square().sum(1, keepdim=True).sqrt_().mul_(float(chosen.read_noise) * self.cell_coding.highest * scale)
            )
            found += _normal(found, draw).mul_(deviation)
        if chosen.output_noise:
            found += _normal(found, draw).mul_(chosen.output_noise * self.sums.one_cell * scale)

    def _slices(self, found: Tensor, width: int) -> tuple[Slices, Slices]:
        """Sums of each cell and input slice (a, c, B), and those of the reference columns (a, tiles, B), with their factors."""
        inputs = self.input_coding.factors
        split = found.view(found.shape[0], found.shape[1], len(inputs), -1)
        weights = [
            (split[:, i * width : (i + 1) * width, j], cell * factor)
            for i, cell in enumerate(self.cell_coding.factors)
            for j, factor in enumerate(inputs)
        ]
        reference = self.cell_coding.reference
        if reference is None:
            return weights, []
        first = len(self.cell_coding.factors) * width
        return weights, [(split[:, first:, j], reference[1] * factor) for j, factor in enumerate(inputs)]

    def _on(self, device: torch.device) -> tuple[PhaseTable, ...]:
        if device not in self._tables:
            self._tables[device] = tuple(PhaseTable.of(phase, device) for phase in self.schedule.phases)
        return self._tables[device]


def _gather_(target: Tensor, parts: list[tuple[Tensor, float]], fresh: bool) -> None:
    """Add the parts, each times its factor, to `target`, or write them where it is fresh."""
    for part, factor in parts:
        if fresh:
            torch.mul(part, factor, out=target)
            fresh = False
        else:
            target.add_(part, alpha=factor)


def _normal(like: Tensor, draw: torch.Generator | None) -> Tensor:
    return torch.randn(like.shape, generator=draw, dtype=like.dtype, device=like.device)
