"""`InputDriver`, which makes `DrivenLines`: inputs as the rows of arrays are driven with them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from rankfold.simulator.coding import InputCoding
from rankfold.simulator.tables import StripTable


@dataclass(frozen=True, eq=False)
class DrivenLines:
    """The inputs of some images, one line for each place of the feature map.

    Attributes:
        lines: (places, S * B), all slices and images of a place side by side: to gather an input is then one
            contiguous copy for all of them.
        line_of: (C_in * Hp * Wp,) the line of each place of the padded feature map, where padding is not
            among the places; None where each place is a line of its own.
    """

    lines: Tensor
    line_of: Tensor | None

    @property
    def dtype(self) -> torch.dtype:
        """Of the lines, which is that of the sums at the columns."""
        return self.lines.dtype

    def places(self, base: Tensor, strip: StripTable) -> Tensor:
        """(a, r) the line that drives each row of a strip; arguments as of `rows`."""
        first = base  # (a, 1)
        if strip.slot is not None:
            first = base[:, strip.slot]  # (a, r)
        places = first + strip.offset  # (a, r)
        if self.line_of is not None:
            places = self.line_of[places]
        return places.contiguous()

    def rows(self, base: Tensor, strip: StripTable) -> Tensor:
        """(a, r, S * B) what the rows of a strip are driven with.

        Args:
            base: (a, slots) place of the first input of each window in each activation.
            strip: its tiles.
        """
        places = self.places(base, strip)
        rows = self.lines.index_select(0, places.reshape(-1))
        return rows.view(*places.shape, -1)


@dataclass(frozen=True, eq=False)
class InputDriver:
    """What turns the inputs of a layer into what its rows are driven with.

    Attributes:
        coding: how inputs are driven.
        input: (C_in, H, W).
        padding: (top, bottom, left, right).
        sliced: whether inputs are driven slice by slice, rather than whole.
    """

    coding: InputCoding
    input: tuple[int, int, int]
    padding: tuple[int, int, int, int]
    sliced: bool
    # Made once for each device.
    _places: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False)

    def lacks_padding(self, levels: Tensor) -> bool:
        """Whether zeros are to be added around the inputs, rather than being among them already."""
        if not any(self.padding):
            return False
        return levels.shape[1:] == self.input

    def drive(self, levels: Tensor, dtype: torch.dtype) -> DrivenLines:
        """The lines of some images.

        Args:
            levels: (B, C_in, H, W) integers, or (B, C_in, Hp, Wp) with their padding.
            dtype: of the lines.
        """
        lines = self._lines(levels)
        slices = len(self.coding.factors)
        if self.sliced and slices > 1:
            # Slices are cut out bit by bit; narrow numbers are quicker to pass over.
            kind = torch.int16 if self.coding.bits < 16 else torch.int32
            driven = torch.empty(len(lines), slices, lines.shape[1], dtype=dtype, device=lines.device)
            for number, part in enumerate(self.coding.slices(lines.to(kind))):
                driven[:, number] = part
            lines = driven.view(len(lines), -1)  # (lines, S * B)
        lines = lines.to(dtype)
        if self.lacks_padding(levels):
            return DrivenLines(lines, self._inside(levels.device))
        return DrivenLines(lines, None)

    def _lines(self, levels: Tensor) -> Tensor:
        """(C_in * H * W, B) inputs, one image a column.

        Where padding is to be added, a line of zeros at the end stands for all of it.
        """
        flat = levels.reshape(len(levels), -1)
        if not self.lacks_padding(levels):
            return flat.T.contiguous()
        images, places = flat.shape
        lines = flat.new_empty(places + 1, images)
        lines[:-1].copy_(flat.T)
        lines[-1] = 0
        return lines

    def _inside(self, device: torch.device) -> Tensor:
        """(C_in * Hp * Wp,) for each place of the padded feature map the line that holds it."""
        if device not in self._places:
            top, bottom, left, right = self.padding
            places = math.prod(self.input)
            lines = torch.arange(places).view(self.input)
            borders = (left, right, top, bottom)
            padded = F.pad(lines, borders, value=places)  # the line of zeros comes after all others
            flat = padded.reshape(-1)
            self._places[device] = flat.to(device)
        return self._places[device]
