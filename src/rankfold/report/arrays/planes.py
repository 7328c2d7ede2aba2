"""The feature map that a window reads, with the kernel's shifted copies in it, and the output plane it writes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from rankfold.mapping import Mapping, Region
from rankfold.report.arrays.cells import spacing
from rankfold.report.arrays.colours import FRAME, MAP_CELL, PADDING_CELL, copy_colours, paler, rgb, to_hex
from rankfold.report.arrays.sheet import Box, Sheet
from rankfold.workload.shape import Pair

Array = np.ndarray
GRID = {"color": "#c9ced6", "linewidth": 0.5}
OUTLINED = 6  # kernel copies that are all outlined; of more only those at the window's corners
LEAST = 8  # inputs or outputs along each side that are shown of any plane
AROUND = 1.5  # and how much more than the window
PALE = 0.72  # the pixels of the other windows


def origin(region: Region) -> Pair:
    """(y, x) of the first output pixel of the region's first window."""
    down, right = spacing(region)
    phase = region.phase or (0, 0)
    return region.origin[0] * down + phase[0], region.origin[1] * right + phase[1]


def window_inputs(region: Region) -> Pair:
    """(ph, pw) inputs from the first to the last that a window reads."""
    shape = region.footprint.shape
    steps = spacing(region)
    height, width = (
        (n - 1) * step * s + extent for n, step, s, extent in zip(region.window, steps, shape.stride, shape.extent, strict=True)
    )
    return height, width


def draw_input(sheet: Sheet, mapping: Mapping, box: Box, second: bool = False) -> None:
    """Draw one channel of the padded feature map around the first window."""
    region, shape = mapping.regions[0], mapping.shape
    start = origin(region)
    top, left = start[0] * shape.stride[0], start[1] * shape.stride[1]
    size = window_inputs(region)
    most = max(LEAST, math.ceil(AROUND * max(top + size[0], left + size[1])) + 1)
    rows, columns = (min(length, most) for length in shape.padded_input)
    place = box.fit(rows, columns)
    cell = place.height / rows
    padding = np.ones((rows, columns), bool)
    above, _, before, _ = shape.padding
    padding[above : above + shape.input[0], before : before + shape.input[1]] = False
    sheet.image(place, np.where(padding[..., None], rgb(PADDING_CELL), rgb(MAP_CELL)))
    if cell > 2.5:
        sheet.grid(place, rows, columns, **GRID)
    _edges(sheet, place, rows < shape.padded_input[0], columns < shape.padded_input[1])

    def under(y: float, x: float, height: float, width: float) -> Box:
        return Box(place.x + x * cell, place.y + y * cell, width * cell, height * cell)

    colours = copy_colours(region.window, second)
    copies = list(_copies(region))
    outlined = _outlined(region.window)
    # Copies of one size, each a little further down and right, so that no side hides another.
    stagger = min(1.7 * (len(outlined) - 1), 0.3 * min(shape.extent) * cell)
    for number, (v, u) in enumerate(outlined):
        y, x = copies[v * region.window[1] + u]
        copy = under(top + y, left + x, *shape.extent).inset(1.2)
        moved = stagger * number / max(1, len(outlined) - 1)
        copy = Box(copy.x + moved, copy.y + moved, copy.width - stagger, copy.height - stagger)
        sheet.rectangles([copy], edgecolor=to_hex(colours[v, u]), linewidth=1.5, zorder=3.5)
    middle = [(under(top + y, left + x, *shape.extent)) for y, x in copies]
    centres = [(each.x + each.width / 2, each.y + each.height / 2) for each in middle]
    gap = cell * min(s * step for s, step in zip(shape.stride, spacing(region), strict=True))
    sheet.dots(centres, max(0.8, min(0.3 * gap, 4)), facecolor=[to_hex(colour) for colour in colours.reshape(-1, 3)], linewidth=0)
    sheet.rectangles([under(top, left, *size)], edgecolor=FRAME, linewidth=1.4, zorder=5)


def draw_output(sheet: Sheet, mapping: Mapping, box: Box, second: bool = False, whole: bool = False) -> bool:
    """Draw the output plane, the first window's pixels in full colour, the others' pale; returns whether all of it is shown."""
    region, (height, width) = mapping.regions[0], mapping.shape.output
    start, steps = origin(region), spacing(region)
    reach = max(first + n * step for first, n, step in zip(start, region.window, steps, strict=True))
    most = max(height, width) if whole else max(LEAST, math.ceil(AROUND * reach) + 1)
    rows, columns = min(height, most), min(width, most)
    place = box.fit(rows, columns)
    cell = place.height / rows
    sheet.image(place, output_colours(mapping, second)[:rows, :columns])
    if cell > 2.5:
        sheet.grid(place, rows, columns, color="white", linewidth=0.6)
    outlines = []
    for part in main_regions(mapping):
        if part.phase is None:
            y, x = part.origin
            bottom, right = min(y + part.size[0], rows), min(x + part.size[1], columns)
            outlines.append(Box(place.x + x * cell, place.y + y * cell, (right - x) * cell, (bottom - y) * cell))
    if len(outlines) > 1:
        sheet.rectangles([each for each in outlines if each.width > 0 < each.height], edgecolor=FRAME, linewidth=0.9)
    _edges(sheet, place, rows < height, columns < width)
    if region.phase is None:
        corner = Box(place.x + start[1] * cell, place.y + start[0] * cell, region.window[1] * cell, region.window[0] * cell)
        sheet.rectangles([corner], edgecolor=FRAME, linewidth=1.4, zorder=5)
    return (rows, columns) == (height, width)


def output_colours(mapping: Mapping, second: bool = False) -> Array:
    """(OH, OW, 3) uint8: each output pixel in the colour of its place in its window, pale but in the first window."""
    found = np.full((*mapping.shape.output, 3), 255, np.uint8)
    for number, region in enumerate(main_regions(mapping)):
        axes = []
        for size, step in zip(region.size, region.window, strict=True):
            pixel = np.arange(size)
            # The last window of a line overlaps the one before it, which yields the pixels they share.
            axes.append(pixel - np.minimum(pixel // step * step, size - step))
        bright = copy_colours(region.window, second)
        pale = paler(bright, PALE)[axes[0][:, None], axes[1][None]]
        if number == 0:
            pale[: region.window[0], : region.window[1]] = bright
        (y, x), (down, right) = origin(region), spacing(region)
        found[y : y + region.size[0] * down : down, x : x + region.size[1] * right : right] = pale
    return found


def main_regions(mapping: Mapping) -> tuple[Region, ...]:
    """The regions that together cover the plane once, for the main region's channels."""
    main = mapping.regions[0]
    return tuple(region for region in mapping.regions if (region.block, region.overflow) == (main.block, main.overflow))


def _copies(region: Region) -> Iterator[tuple[int, int]]:
    """(y, x) of the first input under each kernel copy, relative to the window, row-major."""
    (down, right), (a, b), stride = spacing(region), region.window, region.footprint.shape.stride
    for v in range(a):
        for u in range(b):
            yield v * down * stride[0], u * right * stride[1]


def _outlined(window: Pair) -> list[tuple[int, int]]:
    """The pixels whose kernel copies are outlined."""
    a, b = window
    if a * b <= OUTLINED:
        return [(v, u) for v in range(a) for u in range(b)]
    return list(dict.fromkeys(((0, 0), (0, b - 1), (a - 1, 0), (a - 1, b - 1))))


def _edges(sheet: Sheet, place: Box, more_below: bool, more_right: bool) -> None:
    """The border of a plane, dashed where the plane goes on."""
    for points, more in (
        (((place.x, place.y), (place.right, place.y)), False), (((place.x, place.y), (place.x, place.bottom)), False),
        (((place.x, place.bottom), (place.right, place.bottom)), more_below),
        (((place.right, place.y), (place.right, place.bottom)), more_right),
    ):  # fmt: skip
        sheet.lines([points], color="#9ca3af", linewidth=0.9, linestyle=(0, (3, 2.5)) if more else "solid", zorder=2.5)
