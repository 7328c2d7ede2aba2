"""The floor plan: cores as they lie on the chip, filled with their layers, and links by their load."""

from __future__ import annotations

from rankfold.report.charts.drawing import WIDTH, Chart, Key, shorten, text_width
from rankfold.report.charts.elements import Point, Sketch
from rankfold.report.chip_page.colours import BUSIEST, letters_on
from rankfold.report.chip_page.floor import Floor
from rankfold.report.chip_page.layers import CoreContent, PlacedLayer, Residents
from rankfold.report.chip_page.places import LEFT, Places, places
from rankfold.report.numbers import percent, plural
from rankfold.report.palette import EDGE, INK, LIGHT_PAGE, LINE, PALE, SOFT

# Of a core: its buffer's bar at the lower end.
BUFFER = 0.14
BUFFER_COLOUR = "#6b7280"
# Points: of letters on cores and of the list of layers, a line of it, and what lies left of it.
SMALL, LIST, LEADING, BESIDE = 6.5, 7.5, 11.0, 22.0
# Columns of the list where it stands below the plan.
COLUMNS = 4
# What is written on the ground where nothing is.
EMPTY = LIGHT_PAGE["tint"]


def floor_plan(floor: Floor) -> Chart | None:
    """The floor plan; None where too many cores hold something to be drawn."""
    there = floor.there
    place = places(floor)
    if place is None:
        return None
    drawn = Sketch()
    place.draw_links(drawn)
    _draw_empty(drawn, place, there)
    for core, content in there.cores.items():
        lines = _core_in_words(floor, core, content)
        with drawn.mark("\n".join(lines), stop=True):
            _draw_core(drawn, place, core, content)
    x, y = place.corner(0)
    drawn.text((x - 4, y + place.side / 2 + 2), "in ▸", size=SMALL, colour=SOFT, anchor="end")
    bottom = _list_layers(drawn, place, there)
    title = (
        f"Floor plan of {floor.chip}: {len(there.cores)} of {floor.cores} cores hold the "
        f"{plural('layer', len(there.layers))} of {floor.network}"
    )
    return Chart(drawn.element(title, bottom), _keys(floor.is_bus))


def _draw_empty(drawn: Sketch, place: Places, there: Residents) -> None:
    for core in place.cores:
        if core not in there.cores:
            side = (place.side, place.side)
            drawn.rect(place.corner(core), side, EMPTY, stroke=LINE, round=1.5)


def _draw_core(drawn: Sketch, place: Places, core: int, content: CoreContent) -> None:
    """A core: strips of its layers, as wide as their arrays are many, and its buffer below."""
    x, y = place.corner(core)
    side = place.side
    high = (1 - BUFFER) * side
    drawn.rect((x, y), (side, side), EMPTY)
    left = x
    for part in content.layers:
        wide = side * part.arrays / place.floor.arrays
        with drawn.mark(_part_in_words(part.layer, part.arrays, core), of=str(part.layer.number)):
            drawn.rect((left, y), (wide, high), part.layer.colour, stroke="#ffffff", width=0.6)
            _number(drawn, part.layer, (left + wide / 2, y + high / 2 + 2.3), wide)
        left += wide
    drawn.rect((x, y + high), (side, side - high), PALE)
    full = min(1.0, content.buffered / place.floor.buffer)
    drawn.rect((x, y + high), (side * full, side - high), BUFFER_COLOUR)
    if content.joins:
        drawn.dot((x + side - 4, y + 4), 2.4, INK)
    drawn.rect((x, y), (side, side), "none", stroke=EDGE, round=1.5)


def _number(drawn: Sketch, layer: PlacedLayer, middle: Point, wide: float) -> None:
    words = str(layer.number)
    if text_width(words, SMALL) + 1 <= wide:
        drawn.text(middle, words, size=SMALL, colour=letters_on(layer.colour), anchor="middle")


def _part_in_words(layer: PlacedLayer, arrays: int, core: int) -> str:
    share = percent(arrays / layer.arrays, 0)
    return "\n".join(
        [
            f"{layer.number}  {layer.name}",
            f"{arrays:,} of its {layer.arrays:,} arrays ({share}) are in core {core}",
            f"its weights fill {layer.tiles:,} {plural('array', layer.tiles)} once",
        ]
    )


def _core_in_words(floor: Floor, core: int, content: CoreContent) -> list[str]:
    lines = [f"core {core}: {content.arrays} of {floor.arrays} arrays in use"]
    for part in content.layers:
        share = percent(part.arrays / floor.arrays, 0)
        lines.append(
            f"{part.layer.number}  {part.layer.name}: {part.arrays} {plural('array', part.arrays)} ({share})"
        )
    lines += [f"joined here: {name}" for name in content.joins]
    full = percent(content.buffered / floor.buffer, 0)
    lines.append(f"buffer: {content.buffered:,.0f} of {floor.buffer:,} bytes ({full})")
    return lines


def _list_layers(drawn: Sketch, place: Places, there: Residents) -> float:
    """The names of layers, beside the plan if they fit, else below; returns where all of it ends."""
    layers = there.layers
    left, top, columns = place.right + BESIDE, 4.0, 1
    if len(layers) * LEADING > max(place.height, 160.0):
        left, top, columns = LEFT, place.height + 8, COLUMNS
    wide = (WIDTH - left) / columns
    rows = -(-len(layers) // columns)
    for place_in_list, layer in enumerate(layers):
        column, row = divmod(place_in_list, rows)
        x, y = left + column * wide, top + row * LEADING
        with drawn.mark(_layer_in_words(layer), of=str(layer.number)):
            drawn.rect((x, y), (15, 8.5), layer.colour, round=1)
            middle = (x + 7.5, y + 6.6)
            _number(drawn, layer, middle, 15)
            drawn.text((x + 20, y + 7), _fitting(layer.name, wide - 26), size=LIST)
    return max(place.height, top + rows * LEADING + 2)


def _layer_in_words(layer: PlacedLayer) -> str:
    return f"{layer.number}  {layer.name}\n{layer.arrays:,} arrays, {layer.tiles:,} for its weights once"


def _fitting(name: str, wide: float) -> str:
    """A name, shortened until it is no wider."""
    most = 44
    words = shorten(name, most)
    while text_width(words, LIST) > wide and most > 6:
        most -= 2
        words = shorten(name, most)
    return words


def _keys(is_bus: bool) -> tuple[Key, ...]:
    keys = [
        Key("bar at the lower end of a core: how full its buffer gets", BUFFER_COLOUR, "bar"),
        Key("dot: feature maps are joined in this core", INK, "dot"),
    ]
    if is_bus:
        return (*keys, Key("the bus, as wide as it is busy", BUSIEST, "bar"))
    return (
        *keys,
        Key("links, wide and dark by their load", INK, "bar"),
        Key("the busiest", BUSIEST, "bar"),
    )
