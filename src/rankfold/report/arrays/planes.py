"""The feature map that a window reads, with the kernel's shifted copies in it, and the outputs it writes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankfold.mapping import Mapping, Region
from rankfold.report.arrays.cells import spacing
from rankfold.report.arrays.colours import (
    FRAME,
    MAP_CELL,
    PADDING_CELL,
    copy_colours,
    paler,
    rgb,
    to_hex,
)
from rankfold.report.arrays.sheet import Box, Point, Sheet
from rankfold.report.palette import EDGE
from rankfold.workload.shape import ConvShape, Pair

Array = np.ndarray
GRID = {"color": "#c9ced6", "linewidth": 0.5}
# Kernel copies that are all outlined; of more only those at the window's corners.
OUTLINED = 6
# Inputs or outputs along each side that are shown of any plane, and how much more than the window.
LEAST = 8
AROUND = 1.5
# Points across, of the smallest cells with lines between them.
VISIBLE = 2.5
# How far the pixels of the other windows are on the way to white.
PALE = 0.72
DASHED = (0, (3, 2.5))


@dataclass(frozen=True)
class Plane:
    """A part of a plane that is drawn.

    Attributes:
        place: where it is drawn.
        rows: inputs or outputs that are shown, from the top.
        columns: and from the left.
    """

    place: Box
    rows: int
    columns: int

    @classmethod
    def fitted(cls, box: Box, rows: int, columns: int) -> Plane:
        """As large as a box allows."""
        return cls(box.fit(rows, columns), rows, columns)

    @property
    def cell(self) -> float:
        """Points across, of each input or output."""
        return self.place.height / self.rows

    def part(self, y: float, x: float, height: float, width: float) -> Box:
        """Where a part of the plane is drawn."""
        cell = self.cell
        return Box(
            self.place.x + x * cell,
            self.place.y + y * cell,
            width * cell,
            height * cell,
        )


def origin(region: Region) -> Pair:
    """(y, x) of the first output pixel of the region's first window."""
    down, right = spacing(region)
    # Pixels of an interleaved region are every so many rows and columns of the plane, from its phase on.
    first_row, first_column = region.phase or (0, 0)
    return region.origin[0] * down + first_row, region.origin[1] * right + first_column


def window_inputs(region: Region) -> Pair:
    """(ph, pw) inputs from the first to the last that a window reads."""
    shape = region.footprint.shape
    height, width = region.window
    down, right = spacing(region)
    # From the first output pixel of a window to the last one, and the kernel at that one.
    return (
        (height - 1) * down * shape.stride[0] + shape.extent[0],
        (width - 1) * right * shape.stride[1] + shape.extent[1],
    )


def draw_input(sheet: Sheet, mapping: Mapping, box: Box, second: bool = False) -> None:
    """Draw one channel of the padded feature map around the first window."""
    region = mapping.regions[0]
    shape = mapping.shape
    first_row, first_column = origin(region)
    # The first input under the kernel at that output pixel, in the padded plane.
    top = first_row * shape.stride[0]
    left = first_column * shape.stride[1]
    height, width = window_inputs(region)
    most = _side_shown(max(top + height, left + width))
    padded_height, padded_width = shape.padded_input
    plane = Plane.fitted(box, min(padded_height, most), min(padded_width, most))
    _draw_map(sheet, plane, shape)
    _draw_border(
        sheet,
        plane.place,
        plane.rows < padded_height,
        plane.columns < padded_width,
    )
    # Copies above the map, dots above copies, the window above all. A window layer has no copies.
    if mapping.matrix is None:
        copies = _copies(region, plane, top, left)
        _outline_copies(sheet, plane, region, copies, second)
        _draw_middles(sheet, plane, region, copies, second)
    window = plane.part(top, left, height, width)
    sheet.rectangles([window], edgecolor=FRAME, linewidth=1.4, zorder=5)


def _side_shown(reach: int) -> int:
    """Rows and columns that are shown of a plane of which the first window reaches so far."""
    return max(LEAST, math.ceil(AROUND * reach) + 1)


def _draw_map(sheet: Sheet, plane: Plane, shape: ConvShape) -> None:
    """Draw the cells of a feature map, padding in grey."""
    padding = np.ones((plane.rows, plane.columns), bool)
    # Only a part of the plane may be shown; slices end where it ends.
    above, _, before, _ = shape.padding
    height, width = shape.input
    padding[above : above + height, before : before + width] = False
    colours = np.where(padding[..., None], rgb(PADDING_CELL), rgb(MAP_CELL))  # (rows, columns, 3)
    sheet.image(plane.place, colours)
    if plane.cell > VISIBLE:
        sheet.grid(plane.place, plane.rows, plane.columns, **GRID)


def _copies(region: Region, plane: Plane, top: int, left: int) -> list[Box]:
    """Where the kernel's copies lie, row by row, of a window whose first input is at (top, left)."""
    shape = region.footprint.shape
    down, right = spacing(region)
    height, width = region.window
    copies = []
    for v in range(height):
        y = top + v * down * shape.stride[0]
        for u in range(width):
            x = left + u * right * shape.stride[1]
            copies.append(plane.part(y, x, *shape.extent))
    return copies


def _outline_copies(
    sheet: Sheet,
    plane: Plane,
    region: Region,
    copies: Sequence[Box],
    second: bool,
) -> None:
    """Draw a square around the inputs of the outer copies."""
    colours = copy_colours(region.window, second)
    _, width = region.window
    outlined = _outlined(region.window)
    # Copies of one size, each a little further down and right, so that no side hides another.
    shortest = min(region.footprint.shape.extent)
    stagger = min(1.7 * (len(outlined) - 1), 0.3 * shortest * plane.cell)
    for number, (v, u) in enumerate(outlined):
        copy = copies[v * width + u].inset(1.2)
        moved = stagger * number / max(1, len(outlined) - 1)
        square = Box(
            copy.x + moved,
            copy.y + moved,
            copy.width - stagger,
            copy.height - stagger,
        )
        sheet.rectangles(
            [square],
            edgecolor=to_hex(colours[v, u]),
            linewidth=1.5,
            zorder=3.5,
        )


def _draw_middles(
    sheet: Sheet,
    plane: Plane,
    region: Region,
    copies: Sequence[Box],
    second: bool,
) -> None:
    """Draw a dot at the middle of each copy."""
    colours = copy_colours(region.window, second).reshape(-1, 3)
    shape = region.footprint.shape
    down, right = spacing(region)
    gap = plane.cell * min(shape.stride[0] * down, shape.stride[1] * right)
    # Small enough not to touch the next one, and large enough to be seen.
    radius = max(0.8, min(0.3 * gap, 4))
    middles: list[Point] = [copy.middle for copy in copies]
    sheet.dots(
        middles,
        radius,
        facecolor=[to_hex(colour) for colour in colours],
        linewidth=0,
    )


def draw_output(
    sheet: Sheet,
    mapping: Mapping,
    box: Box,
    second: bool = False,
    *,
    whole: bool = False,
) -> bool:
    """Draw the output plane, the first window's pixels in full colour, the others' pale.

    Args:
        sheet: where to draw.
        mapping: what computes the plane.
        box: the room for it.
        second: whether it is the second stage of a pair.
        whole: whether to draw all of it, however small its pixels.

    Returns:
        Whether all of it is shown.
    """
    region = mapping.regions[0]
    height, width = outputs_drawn(mapping)
    top, left = origin(region)
    most = max(height, width)
    if not whole:
        down, right = spacing(region)
        bottom = top + mapping.window[0] * down
        end = left + mapping.window[1] * right
        most = _side_shown(max(bottom, end))
    plane = Plane.fitted(box, min(height, most), min(width, most))
    colours = output_colours(mapping, second)
    sheet.image(plane.place, colours[: plane.rows, : plane.columns])
    if plane.cell > VISIBLE:
        sheet.grid(
            plane.place,
            plane.rows,
            plane.columns,
            color="white",
            linewidth=0.6,
        )
    _outline_regions(sheet, plane, mapping)
    _draw_border(sheet, plane.place, plane.rows < height, plane.columns < width)
    if region.phase is None:  # else the window's pixels do not lie side by side
        placed = mapping.window
        if mapping.matrix is not None:
            placed = mapping.matrix.placed
        window = plane.part(top, left, *placed)
        sheet.rectangles([window], edgecolor=FRAME, linewidth=1.4, zorder=5)
    return (plane.rows, plane.columns) == (height, width)


def _outline_regions(sheet: Sheet, plane: Plane, mapping: Mapping) -> None:
    """Draw a frame around each of several regions, but for interleaved ones, which lie all over the plane."""
    outlines = []
    for region in main_regions(mapping):
        if region.phase is None:
            y, x = region.origin
            bottom = min(y + region.size[0], plane.rows)
            right = min(x + region.size[1], plane.columns)
            outlines.append(plane.part(y, x, bottom - y, right - x))
    if len(outlines) > 1:
        # Regions beyond the part that is shown have no room in it.
        seen = [outline for outline in outlines if outline.width > 0 < outline.height]
        sheet.rectangles(seen, edgecolor=FRAME, linewidth=0.9)


def output_colours(mapping: Mapping, second: bool = False) -> Array:
    """Each output pixel in the colour of its place in its window, pale but in the first window.

    Returns:
        (OH, OW, 3) uint8.
    """
    plane = np.full((*outputs_drawn(mapping), 3), 255, np.uint8)
    if mapping.matrix is not None:
        return _window_colours(mapping.matrix.placed, plane, second)
    for number, region in enumerate(main_regions(mapping)):
        down, right = spacing(region)
        y, x = origin(region)
        height, width = region.size
        # Regions of interleaved windows are lattices: every so many rows and columns.
        rows = slice(y, y + height * down, down)
        columns = slice(x, x + width * right, right)
        plane[rows, columns] = _region_colours(region, second, first=number == 0)
    return plane


def outputs_drawn(mapping: Mapping) -> Pair:
    """(OH, OW) of the layer that a mapping computes."""
    if mapping.matrix is not None:
        _, plane = mapping.matrix.outputs
        return plane
    return mapping.shape.output


def _window_colours(window: Pair, plane: Array, second: bool) -> Array:
    """The plane (OH, OW, 3) of a window layer, whose windows lie side by side from the first pixel on."""
    rows = np.arange(plane.shape[0]) % window[0]
    columns = np.arange(plane.shape[1]) % window[1]
    bright = copy_colours(window, second)  # (a, b, 3)
    colours = paler(bright, PALE)[rows[:, None], columns[None]]
    colours[: window[0], : window[1]] = bright
    return colours


def _region_colours(region: Region, second: bool, *, first: bool) -> Array:
    """(h, w, 3) uint8 of a region's own pixels; `first`: its first window is in full colour."""
    height, width = region.size
    rows = _places(height, region.window[0])
    columns = _places(width, region.window[1])
    bright = copy_colours(region.window, second)  # (a, b, 3)
    pale = paler(bright, PALE)
    colours = pale[rows[:, None], columns[None]]
    if first:
        height, width = region.window
        colours[:height, :width] = bright
    return colours


def _places(size: int, step: int) -> Array:
    """(size,) the place in its window of each pixel along one side, with windows of `step` pixels."""
    pixel = np.arange(size)  # (size,)
    # The last window of a line overlaps the one before it, which yields the pixels they share.
    start = np.minimum(pixel // step * step, size - step)
    return pixel - start


def main_regions(mapping: Mapping) -> tuple[Region, ...]:
    """The regions that together cover the plane once, for the main region's channels."""
    main = mapping.regions[0]
    same = (main.block, main.overflow)
    regions = []
    for region in mapping.regions:
        if (region.block, region.overflow) == same:
            regions.append(region)
    return tuple(regions)


def _outlined(window: Pair) -> list[tuple[int, int]]:
    """The pixels whose kernel copies are outlined."""
    height, width = window
    if height * width <= OUTLINED:
        return [(v, u) for v in range(height) for u in range(width)]
    bottom = height - 1
    right = width - 1
    corners = ((0, 0), (0, right), (bottom, 0), (bottom, right))
    return list(dict.fromkeys(corners))  # each once, where a window is but one pixel high or wide


def _draw_border(sheet: Sheet, place: Box, more_below: bool, more_right: bool) -> None:
    """Draw the border of a plane, dashed where the plane goes on."""
    top_left = (place.x, place.y)
    top_right = (place.right, place.y)
    bottom_left = (place.x, place.bottom)
    bottom_right = (place.right, place.bottom)
    sides = (
        (top_left, top_right, False),
        (top_left, bottom_left, False),
        (bottom_left, bottom_right, more_below),
        (top_right, bottom_right, more_right),
    )
    for start, end, goes_on in sides:
        style: object = "solid"
        if goes_on:
            style = DASHED
        sheet.lines(
            [(start, end)],
            color=EDGE,
            linewidth=0.9,
            linestyle=style,
            zorder=2.5,
        )
