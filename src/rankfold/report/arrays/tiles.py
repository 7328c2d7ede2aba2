"""Arrays and what their cells hold, with a frame and a name for each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from rankfold.mapping import Mapping, Tile
from rankfold.report.arrays.cells import (
    Block,
    Shown,
    blocks,
    cell_colours,
    groups_of,
    shown_tiles,
)
from rankfold.report.arrays.colours import FRAME
from rankfold.report.arrays.sheet import SMALL, Box, Point, Sheet
from rankfold.report.charts.drawing import text_width
from rankfold.report.palette import INK, SOFT

# Points: around an array, for what is written there, and between two arrays.
ABOVE, BELOW, LEFT, GAP = 16.0, 24.0, 16.0, 10.0
# Most arrays in a large drawing, one of them large, and in a row of equal ones.
LARGE_TILES, ROW_TILES = 4, 3
# Points across, of the smallest block that gets a frame: of smaller ones, one would see nothing but frames.
FINE = 1.5
# Points; arrays of smaller cells are shown magnified, too.
TINY = 1.0
# Rows and columns that are magnified.
CORNER = 40
# Points across, of the smallest cells with lines between them.
VISIBLE = 2.2


def draw_large(sheet: Sheet, mapping: Mapping, box: Box, second: bool = False) -> float:
    """Draw the first array large, its rows and columns named, and up to three more in a column beside it.

    Args:
        sheet: where to draw.
        mapping: what to draw.
        box: the room for it.
        second: whether it is the second stage of a pair.

    Returns:
        The right edge of what was drawn.
    """
    side = box.height - ABOVE - BELOW
    # The small ones, with what is written under them, are as high together as the large one.
    small = (side + BELOW) / (LARGE_TILES - 1) - BELOW
    width = box.width - LEFT - small - 2 * GAP
    place = _fit(Box(box.x + LEFT, box.y + ABOVE, width, side), mapping)
    tiny = _has_tiny_cells(place, mapping)
    # What is magnified takes the place of an array.
    first, *others = shown_tiles(mapping, LARGE_TILES - tiny)
    large = _Array(sheet, mapping, first, place, second)
    large.draw()
    large.write_sides()
    large.name_groups()
    right = place.right
    spot = Box(right + 2 * GAP, place.y, small, small)
    if tiny:
        right = max(right, large.magnify(spot))
        spot = replace(spot, y=spot.bottom + BELOW)
    for shown in others:
        array = _Array(sheet, mapping, shown, _fit(spot, mapping), second)
        right = max(right, array.draw())
        spot = replace(spot, y=array.place.bottom + BELOW)
    return right


def draw_row(sheet: Sheet, mapping: Mapping, box: Box, second: bool = False) -> None:
    """Draw up to three arrays of one size side by side."""
    width = (box.width - (ROW_TILES - 1) * GAP) / ROW_TILES
    height = box.height - BELOW
    spots = []
    for number in range(ROW_TILES):
        x = box.x + number * (width + GAP)
        spots.append(Box(x, box.y, width, height))
    place = _fit(spots.pop(0), mapping)
    tiny = _has_tiny_cells(place, mapping)
    first, *others = shown_tiles(mapping, ROW_TILES - tiny)
    array = _Array(sheet, mapping, first, place, second)
    array.draw()
    if tiny:
        array.magnify(spots.pop(0))
    # There may be fewer arrays than spots for them.
    for shown, spot in zip(others, spots, strict=False):
        place = _fit(spot, mapping)
        _Array(sheet, mapping, shown, place, second).draw()


def _fit(room: Box, mapping: Mapping) -> Box:
    """Where an array with square cells lies in a room."""
    array = mapping.array
    return room.fit(array.rows, array.columns)


def _has_tiny_cells(place: Box, mapping: Mapping) -> bool:
    return place.width < TINY * mapping.array.columns


@dataclass(frozen=True)
class _Array:
    """One array of a drawing.

    Attributes:
        sheet: where it is drawn.
        mapping: what it is of.
        shown: what it holds.
        place: where on the sheet it lies.
        second: whether it is the second stage of a pair.
    """

    sheet: Sheet
    mapping: Mapping
    shown: Shown
    place: Box
    second: bool

    @property
    def tile(self) -> Tile:
        """What sits in its cells."""
        return self.shown.tile

    @property
    def row_height(self) -> float:
        """Points of a row."""
        return self.place.height / self.mapping.array.rows

    @property
    def column_width(self) -> float:
        """Points of a column."""
        return self.place.width / self.mapping.array.columns

    def draw(self) -> float:
        """Draw cells and frames, and write below what they are; returns the right edge."""
        array = self.mapping.array
        colours = self._colours()
        self.sheet.image(self.place, colours)
        _separate(self.sheet, self.place, array.rows, array.columns)
        # The array's own frame is drawn over those of its blocks.
        self._frame_blocks()
        self.sheet.rectangles([self.place], edgecolor=FRAME, linewidth=0.8)
        written = _write_under(self.sheet, self.place, self._number(), self._held())
        return max(self.place.right, written)

    def magnify(self, spot: Box) -> float:
        """Draw the first cells once more at a spot, large enough to see them; returns the right edge."""
        array = self.mapping.array
        rows = min(CORNER, array.rows)
        columns = min(CORNER, array.columns)
        fitted = spot.fit(rows, columns)
        colours = self._colours()
        self.sheet.image(fitted, colours[:rows, :columns])
        _separate(self.sheet, fitted, rows, columns)
        width = self.place.width * columns / array.columns
        height = self.place.height * rows / array.rows
        corner = Box(self.place.x, self.place.y, width, height)
        # The same frame says on the whole array which cells these are.
        self.sheet.rectangles(
            [fitted, corner],
            edgecolor=FRAME,
            linewidth=1.1,
            linestyle=(0, (2, 1.5)),
            zorder=4,
        )
        cells = f"first {rows}x{columns} cells"
        written = _write_under(self.sheet, fitted, "magnified", cells)
        return max(fitted.right, written)

    def write_sides(self) -> None:
        """Say what rows and columns are, with brackets around those of the first channels."""
        self._write_columns()
        self._write_rows()

    def name_groups(self) -> None:
        """Write each group's name beside its block, where there is room."""
        parts = blocks(self.tile)
        if self.mapping.shape.groups == 1 or len(parts) == 1:
            return
        # Blocks lie on the diagonal: there are empty cells at their right.
        for part in parts:
            box = self._block_box(part)
            name = f"group {part.group + 1}"
            x = box.right + 3
            _, y = box.middle
            right = x + text_width(name, SMALL)
            if box.height >= SMALL + 1 and right <= self.place.right:
                self.sheet.text(x, y, name, color=INK, va="center")

    def _colours(self) -> np.ndarray:
        """(R, C, 3) uint8."""
        return cell_colours(self.shown.region, self.tile, self.second, self.mapping.matrix)

    def _number(self) -> str:
        count = self.mapping.tile_count
        if count == 1:
            return "the only array"
        return f"array {self.shown.number:,} of {count:,}"

    def _held(self) -> str:
        """What the array holds, in words."""
        slots = self.shown.region.slots
        if slots > 1:
            return f"shared by {slots} windows"
        if self.mapping.shape.groups > 1:
            return _span("group", groups_of(self.tile))
        return _span("channel", self.tile.row_channel.tolist())

    def _frame_blocks(self) -> None:
        """Draw a frame around each of several blocks, where all of them are large enough."""
        boxes = [self._block_box(block) for block in blocks(self.tile)]
        if len(boxes) < 2:
            return
        smallest = min(min(box.width, box.height) for box in boxes)
        if smallest >= FINE:
            self.sheet.rectangles(boxes, edgecolor=FRAME, linewidth=0.6)

    def _block_box(self, block: Block) -> Box:
        """Where a block lies on the sheet."""
        top, bottom = block.rows
        left, right = block.columns
        return Box(
            self.place.x + left * self.column_width,
            self.place.y + top * self.row_height,
            (right - left) * self.column_width,
            (bottom - top) * self.row_height,
        )

    def _write_columns(self) -> None:
        """Write above the array."""
        place = self.place
        words = "columns: outputs →"
        outputs = _first_run(self.tile.col_channel.tolist())
        channel = int(self.tile.col_channel[0]) + 1
        # Where there is room for it, the first channel's own columns are named, too.
        longer = f"channel {channel}, {outputs} pixels | {words}"
        if outputs > 1 and text_width(longer, SMALL) <= place.width:
            words = longer
            y = place.y - 3
            right = place.x + outputs * self.column_width
            self._bracket((place.x, y), (right, y), (0, 3))
        self.sheet.text(place.x, place.y - 6, words, color=SOFT)

    def _write_rows(self) -> None:
        """Write at the left of the array, upwards."""
        place = self.place
        words = "← rows: inputs"
        inputs = _first_run(self.tile.row_channel.tolist())
        channel = int(self.tile.row_channel[0]) + 1
        # As above the array, read from below.
        longer = f"{words} | channel {channel}, {inputs} inputs"
        if inputs > 1 and text_width(longer, SMALL) <= place.height:
            words = longer
            x = place.x - 3
            bottom = place.y + inputs * self.row_height
            self._bracket((x, place.y), (x, bottom), (3, 0))
        if text_width(words, SMALL) > place.height:
            words = "← rows"
        self.sheet.text(
            place.x - 6,
            place.y,
            words,
            color=SOFT,
            rotation=90,
            ha="right",
            va="top",
        )

    def _bracket(self, start: Point, end: Point, towards: Point) -> None:
        """Draw a line with short ends, which go so far right and down."""
        right, down = towards
        lines = [(start, end)]
        for x, y in (start, end):
            lines.append(((x, y), (x + right, y + down)))
        self.sheet.lines(lines, color=INK, linewidth=0.9)


def _separate(sheet: Sheet, place: Box, rows: int, columns: int) -> None:
    """Draw fine lines between cells that are large enough, so that areas of one colour show theirs, too."""
    if place.width < VISIBLE * columns:
        return
    sheet.grid(
        place,
        rows,
        columns,
        color="white",
        linewidth=0.3,
        alpha=0.6,
    )


def _write_under(sheet: Sheet, place: Box, what: str, held: str) -> float:
    """Write two lines below an array; returns their right edge."""
    sheet.text(place.x, place.bottom + 9, what, color=INK)
    sheet.text(place.x, place.bottom + 18, held, color=SOFT)
    widest = max(text_width(what, SMALL), text_width(held, SMALL))
    return place.x + widest


def _first_run(channels: Sequence[int]) -> int:
    """How many lines the first channel has before another one's."""
    first = channels[0]
    run = takewhile(lambda channel: channel == first, channels)
    return len(list(run))


def _span(noun: str, numbers: Sequence[int]) -> str:
    """`channel 3`, or `channels 1–16`, counted from 1."""
    first = min(numbers) + 1
    last = max(numbers) + 1
    if first == last:
        return f"{noun} {first:,}"
    return f"{noun}s {first:,}–{last:,}"
