"""`PhaseAccumulators`: the sums of one phase, added up over the strips that hold rows of the same columns."""

from __future__ import annotations

import torch
from torch import Tensor

from rankfold.simulator.tables import PhaseTable, StripTable


class PhaseAccumulators:
    """For each placement of a phase, the sums (activations, columns, B) of its columns.

    Args:
        phase: the activations of one region.
        images: B.
        dtype: in which the sums are exact.
        device: where they are added up.
    """

    def __init__(
        self,
        phase: PhaseTable,
        images: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.dtype = dtype
        self._phase = phase
        self._images = images
        self._totals: list[Tensor] = []
        for place in phase.placements:
            size = (len(phase.base), place.columns, images)
            total = torch.empty(size, dtype=dtype, device=device)
            self._totals.append(total)
        # The first strip of some columns writes their sums, and the others add to them: no pass only sets
        # zeros.
        self._begun: set[int] = set()

    def add(
        self,
        number: int,
        activations: slice,
        parts: list[tuple[Tensor, float]],
    ) -> None:
        """Add parts (a, c, B), each times its factor, to sums of a placement.

        Args:
            number: of the placement.
            activations: which of them the parts are of.
            parts: sums, and what they count for.
        """
        target = self._totals[number][activations]
        fresh = number not in self._begun
        for part, factor in parts:
            if fresh:
                torch.mul(part, factor, out=target)
                fresh = False
            else:
                target.add_(part, alpha=factor)

    def total(self, number: int) -> Tensor:
        """(activations, c, B) the sums of a placement, to be set or added to."""
        return self._totals[number]

    def is_fresh(self, number: int) -> bool:
        """Whether nothing was added to them yet, so that they are to be set."""
        return number not in self._begun

    def end_strip(self, strip: StripTable) -> None:
        """All activations of a strip are added; strips that come later add to what it wrote."""
        self._begun.update(strip.sums)

    def place(self, result: Tensor) -> None:
        """Add the sums to the pixels (m * OH * OW, B) that they belong to."""
        placements = self._phase.placements
        for place, total in zip(placements, self._totals, strict=True):
            sums = total.view(-1, self._images)  # (activations * columns, B)
            place.add(result, sums)
