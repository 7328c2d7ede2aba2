"""Arrays and what their cells hold, with a frame and a name for each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from rankfold.mapping import Mapping, Tile
from rankfold.report.arrays.cells import Block, Shown, blocks, cell_colours, groups_of, shown_tiles
from rankfold.report.arrays.colours import FRAME
from rankfold.report.arrays.sheet import SMALL, Box, Sheet
from rankfold.report.charts.drawing import text_width
from rankfold.report.palette import INK, SOFT

ABOVE, BELOW, LEFT, GAP = 16.0, 24.0, 16.0, 10.0
LARGE_TILES, ROW_TILES = 4, 3
FINE = 1.5  # points across, of the smallest block that gets a frame
TINY, CORNER = 1.0, 40  # cells of less than a point are shown magnified, too: so many rows and columns of them
VISIBLE = 2.2  # points across, of the smallest cells with lines between them


def draw_large(sheet: Sheet, mapping: Mapping, box: Box, second: bool = False) -> float:
    """Draw the first array large, with its rows and columns named, and up to three more in a column beside it.

    Returns the right edge of what was drawn.
    """
    side = box.height - ABOVE - BELOW
    small = (side + BELOW) / (LARGE_TILES - 1) - BELOW
    room = Box(box.x + LEFT, box.y + ABOVE, box.width - LEFT - small - 2 * GAP, side)
    place = room.fit(mapping.array.rows, mapping.array.columns)
    tiny = place.width < TINY * mapping.array.columns
    first, *rest = shown_tiles(mapping, LARGE_TILES - tiny)
    _draw(sheet, mapping, first, place, second)
    _write_sides(sheet, mapping, first.tile, place)
    _name_groups(sheet, mapping, first.tile, place)
    spot, right = Box(place.right + 2 * GAP, place.y, small, small), place.right
    if tiny:
        right = max(right, _magnify(sheet, mapping, first, place, spot, second))
        spot = replace(spot, y=spot.y + small + BELOW)
    for item in rest:
        fitted = spot.fit(mapping.array.rows, mapping.array.columns)
        right = max(right, _draw(sheet, mapping, item, fitted, second))
        spot = replace(spot, y=fitted.bottom + BELOW)
    return right


def draw_row(sheet: Sheet, mapping: Mapping, box: Box, second: bool = False) -> None:
    """Draw up to three arrays of one size side by side."""
    width = (box.width - (ROW_TILES - 1) * GAP) / ROW_TILES
    spots = [Box(box.x + number * (width + GAP), box.y, width, box.height - BELOW) for number in range(ROW_TILES)]
    place = spots[0].fit(mapping.array.rows, mapping.array.columns)
    tiny = place.width < TINY * mapping.array.columns
    first, *rest = shown_tiles(mapping, ROW_TILES - tiny)
    _draw(sheet, mapping, first, place, second)
    spots = spots[1:]
    if tiny:
        _magnify(sheet, mapping, first, place, spots.pop(0), second)
    for item, spot in zip(rest, spots, strict=False):
        _draw(sheet, mapping, item, spot.fit(mapping.array.rows, mapping.array.columns), second)


def _draw(sheet: Sheet, mapping: Mapping, item: Shown, place: Box, second: bool) -> float:
    """Draw one array and what it is below; returns the right edge."""
    sheet.image(place, cell_colours(item.region, item.tile, second))
    _separate(sheet, place, mapping.array.rows, mapping.array.columns)
    parts = [_place(mapping, part, place) for part in blocks(item.tile)]
    if len(parts) > 1 and min(min(part.width, part.height) for part in parts) >= FINE:
        sheet.rectangles(parts, edgecolor=FRAME, linewidth=0.6)
    sheet.rectangles([place], edgecolor=FRAME, linewidth=0.8)
    count = mapping.tile_count
    what = "the only array" if count == 1 else f"array {item.number:,} of {count:,}"
    if item.region.slots > 1:
        held = f"shared by {item.region.slots} windows"
    elif mapping.shape.groups > 1:
        held = _span("group", groups_of(item.tile))
    else:
        held = _span("channel", item.tile.row_channel.tolist())
    return max(place.right, _write_under(sheet, place, what, held))


def _magnify(sheet: Sheet, mapping: Mapping, item: Shown, place: Box, spot: Box, second: bool) -> float:
    """Draw the first cells of an array drawn at `place` large enough to see them; returns the right edge."""
    rows, columns = min(CORNER, mapping.array.rows), min(CORNER, mapping.array.columns)
    spot = spot.fit(rows, columns)
    sheet.image(spot, cell_colours(item.region, item.tile, second)[:rows, :columns])
    _separate(sheet, spot, rows, columns)
    taken = Box(place.x, place.y, place.width * columns / mapping.array.columns, place.height * rows / mapping.array.rows)
    sheet.rectangles([spot, taken], edgecolor=FRAME, linewidth=1.1, linestyle=(0, (2, 1.5)), zorder=4)
    return max(spot.right, _write_under(sheet, spot, "magnified", f"first {rows}x{columns} cells"))


def _separate(sheet: Sheet, place: Box, rows: int, columns: int) -> None:
    """Draw fine lines between cells that are large enough, so that areas of one colour show their cells, too."""
    if place.width >= VISIBLE * columns:
        sheet.grid(place, rows, columns, color="white", linewidth=0.3, alpha=0.6)


def _write_under(sheet: Sheet, place: Box, what: str, held: str) -> float:
    """Write two lines below an array; returns their right edge."""
    sheet.text(place.x, place.bottom + 9, what, color=INK)
    sheet.text(place.x, place.bottom + 18, held, color=SOFT)
    return place.x + max(text_width(what, SMALL), text_width(held, SMALL))


def _write_sides(sheet: Sheet, mapping: Mapping, tile: Tile, place: Box) -> None:
    """Say what rows and columns are, with brackets around those of the first channels."""
    inputs, outputs = _first_run(tile.row_channel.tolist()), _first_run(tile.col_channel.tolist())
    down, right = place.height / mapping.array.rows, place.width / mapping.array.columns
    columns, rows = "columns: outputs →", "← rows: inputs"
    first = f"channel {int(tile.col_channel[0]) + 1}, {outputs} pixels | {columns}"
    if outputs > 1 and text_width(first, SMALL) <= place.width:
        columns = first
        y, x = place.y - 3, place.x + outputs * right
        sheet.lines([((place.x, y), (x, y)), ((place.x, y), (place.x, y + 3)), ((x, y), (x, y + 3))], color=INK, linewidth=0.9)
    first = f"{rows} | channel {int(tile.row_channel[0]) + 1}, {inputs} inputs"
    if inputs > 1 and text_width(first, SMALL) <= place.height:
        rows = first
        y, x = place.y + inputs * down, place.x - 3
        sheet.lines([((x, place.y), (x, y)), ((x, place.y), (x + 3, place.y)), ((x, y), (x + 3, y))], color=INK, linewidth=0.9)
    sheet.text(place.x, place.y - 6, columns, color=SOFT)
    if text_width(rows, SMALL) > place.height:
        rows = "← rows"
    sheet.text(place.x - 6, place.y, rows, color=SOFT, rotation=90, ha="right", va="top")


def _name_groups(sheet: Sheet, mapping: Mapping, tile: Tile, place: Box) -> None:
    """Write each group's name beside its block, where there is room."""
    parts = blocks(tile)
    if mapping.shape.groups == 1 or len(parts) == 1:
        return
    for part in parts:
        box, name = _place(mapping, part, place), f"group {part.group + 1}"
        if box.height >= SMALL + 1 and box.right + 3 + text_width(name, SMALL) <= place.right:
            sheet.text(box.right + 3, box.y + box.height / 2, name, color=INK, va="center")


def _place(mapping: Mapping, part: Block, place: Box) -> Box:
    """Where a block lies on an array drawn at `place`."""
    down, right = place.height / mapping.array.rows, place.width / mapping.array.columns
    (top, bottom), (left, end) = part.rows, part.columns
    return Box(place.x + left * right, place.y + top * down, (end - left) * right, (bottom - top) * down)


def _first_run(channels: Sequence[int]) -> int:
    """How many lines the first channel has before another one's."""
    return sum(1 for _ in takewhile(lambda channel: channel == channels[0], channels))


def _span(noun: str, numbers: Sequence[int]) -> str:
    first, last = min(numbers) + 1, max(numbers) + 1
    return f"{noun} {first:,}" if first == last else f"{noun}s {first:,}–{last:,}"
