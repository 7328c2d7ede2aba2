"""A schedule's index tables as tensors on a device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rankfold.simulator.schedule import Phase, Placement, Strip


@dataclass(frozen=True, eq=False)
class StripTable:
    """A `Strip` on a device."""

    offset: Tensor
    slot: Tensor | None
    widths: tuple[int, ...]
    starts: tuple[int, ...]
    sums: tuple[int, ...]

    @classmethod
    def of(cls, strip: Strip, device: torch.device) -> StripTable:
        """Copy a strip to a device."""
        slot = None if strip.slot is None else torch.from_numpy(strip.slot).to(device)
        return cls(torch.from_numpy(strip.offset).to(device), slot, strip.widths, strip.starts, strip.sums)


@dataclass(frozen=True, eq=False)
class PlacementTable:
    """A `Placement` on a device; `first` where the pixels are a whole run from there."""

    columns: int
    source: Tensor
    pixel: Tensor
    first: int | None

    @classmethod
    def of(cls, place: Placement, device: torch.device) -> PlacementTable:
        """Copy a placement to a device."""
        pixel = torch.from_numpy(place.pixel).to(device)
        run = len(place.pixel) > 0 and int(place.pixel[-1]) - int(place.pixel[0]) == len(place.pixel) - 1
        return cls(
            place.columns,
            torch.from_numpy(place.source).to(device),
            pixel,
            int(place.pixel[0]) if run else None,
        )

    def add(self, result: Tensor, sums: Tensor) -> None:
        """Add sums (activations * c, B) to the pixels (m * OH * OW, B) they belong to."""
        chosen = sums.index_select(0, self.source)
        if self.first is None:
            result.index_add_(0, self.pixel, chosen)
        else:
            result[self.first : self.first + len(chosen)] += chosen


@dataclass(frozen=True, eq=False)
class PhaseTable:
    """A `Phase` on a device."""

    stored: int
    base: Tensor
    strips: tuple[StripTable, ...]
    placements: tuple[PlacementTable, ...]

    @classmethod
    def of(cls, phase: Phase, device: torch.device) -> PhaseTable:
        """Copy a phase to a device."""
        strips = tuple(StripTable.of(strip, device) for strip in phase.strips)
        placements = tuple(PlacementTable.of(place, device) for place in phase.placements)
        return cls(phase.stored, torch.from_numpy(phase.base).to(device), strips, placements)
