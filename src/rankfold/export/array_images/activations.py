"""The activations of a region, as array images list them: which windows each of them serves."""

from __future__ import annotations

from rankfold.mapping import Region

Window = list[int]  # [y, x] of its first output pixel, then [y, x] from which its pixels count


def activations(region: Region) -> list[list[Window | None]]:
    """The windows of each activation, one a slot; None for a slot that is left over in the last one."""
    down, across = _along(region, 0), _along(region, 1)
    windows: list[Window | None] = []
    for top, from_y in down:
        for left, from_x in across:
            windows.append([top, left, from_y, from_x])
    spare = -len(windows) % region.slots
    windows += [None] * spare
    return [windows[start : start + region.slots] for start in range(0, len(windows), region.slots)]


def _along(region: Region, axis: int) -> list[tuple[int, int]]:
    """(first output pixel, pixel from which its pixels count) of every window along an axis."""
    size, step, origin = region.size[axis], region.window[axis], region.origin[axis]
    spacing, corner = 1, 0
    if region.phase is not None:
        # The region's pixels are every so many pixels of the layer.
        spacing, corner = region.footprint.spacing[axis], region.phase[axis]
    places = []
    for wanted in range(0, size, step):
        # The last window may not reach beyond the region, so that it begins early and repeats pixels.
        first = min(wanted, size - step)
        places.append(((first + origin) * spacing + corner, (wanted + origin) * spacing + corner))
    return places
