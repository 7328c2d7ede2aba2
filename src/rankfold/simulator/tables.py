"""A schedule's index tables as tensors on a device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rankfold.simulator.schedule import Array, Phase, Placement, Strip


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
        slot = None
        if strip.slot is not None:
            slot = _on(device, strip.slot)
        offset = _on(device, strip.offset)
        return cls(
            offset,
            slot,
            strip.widths,
            strip.starts,
            strip.sums,
        )


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
        return cls(
            place.columns,
            _on(device, place.source),
            _on(device, place.pixel),
            _first_of_run(place.pixel),
        )

    def add(self, result: Tensor, sums: Tensor) -> None:
        """Add sums (activations * c, B) to the pixels (m * OH * OW, B) they belong to."""
        chosen = sums.index_select(0, self.source)
        if self.first is None:
            result.index_add_(0, self.pixel, chosen)
        else:
            # A slice: several times as fast as an index, and the usual case.
            end = self.first + len(chosen)
            result[self.first : end] += chosen


def _first_of_run(pixel: Array) -> int | None:
    """The first of pixels (P,), rising and all different, that leave none out up to the last; else None."""
    if len(pixel) == 0:
        return None
    first = int(pixel[0])
    last = int(pixel[-1])
    if last - first != len(pixel) - 1:
        return None
    return first


def _on(device: torch.device, table: Array) -> Tensor:
    return torch.from_numpy(table).to(device)


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
        strips = []
        for strip in phase.strips:
            strips.append(StripTable.of(strip, device))
        placements = []
        for place in phase.placements:
            placements.append(PlacementTable.of(place, device))
        return cls(
            phase.stored,
            _on(device, phase.base),
            tuple(strips),
            tuple(placements),
        )
