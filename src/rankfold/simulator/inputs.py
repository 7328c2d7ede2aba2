"""`DrivenLines`: inputs as the rows of arrays are driven with them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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

    def rows(self, base: Tensor, strip: StripTable) -> Tensor:
        """(a, r, S * B) what the rows of a strip are driven with.

        Args:
            base: (a, slots) place of the first input of each window in each activation.
            strip: its tiles.
        """
        first = base  # (a, 1)
        if strip.slot is not None:
            first = base[:, strip.slot]  # (a, r)
        places = first + strip.offset  # (a, r)
        if self.line_of is not None:
            places = self.line_of[places]
        flat = places.reshape(-1)
        rows = self.lines.index_select(0, flat)
        return rows.view(*places.shape, -1)
