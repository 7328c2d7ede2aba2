"""The activations of a region, as array images list them: which windows each of them serves."""

from __future__ import annotations

from rankfold.mapping import Region

Window = list[int]  # [y, x] of its first output pixel, then [y, x] from which its pixels count


def activations(region: Region) -> list[list[Window | None]]:
    """The windows of each activation, one a slot; None for a slot that is left over in the last one."""
    windows: list[Window | None] = []
    across = _along(region, 1)
    for top, from_y in _along(region, 0):
        for left, from_x in across:
            windows.append([top, left, from_y, from_x])
    slots = region.slots
    spare = -len(windows) % slots
    windows += [None] * spare
    served = []
    for start in range(0, len(windows), slots):
        served.append(windows[start : start + slots])
    return served


def _along(region: Region, axis: int) -> list[tuple[int, int]]:
    """(first output pixel, pixel from which its pixels count) of every window along an axis."""
    size = region.size[axis]
    step = region.window[axis]
    origin = region.origin[axis]
    spacing = 1
    corner = 0
    if region.phase is not None:
        # The region has every so many pixels of the layer's output, and counts them by itself.
        spacing = region.footprint.spacing[axis]
        corner = region.phase[axis]
    places = []
    for wanted in range(0, size, step):
        # The last window may not reach beyond the region, so that it begins early and repeats pixels.
        first = min(wanted, size - step)
        start = (first + origin) * spacing + corner
        counts_from = (wanted + origin) * spacing + corner
        places.append((start, counts_from))
    return places
