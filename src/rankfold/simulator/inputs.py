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
