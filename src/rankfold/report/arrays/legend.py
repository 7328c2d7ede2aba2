"""How to read a picture: signs and sentences for someone who has never seen one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rankfold.mapping import Mapping
from rankfold.report.arrays.colours import (
    FRAME,
    PADDING_CELL,
    UNUSED_CELL,
    ZERO_CELL,
    copy_colours,
    to_hex,
)
from rankfold.report.arrays.sheet import Box, Sheet, wrapped
from rankfold.report.palette import INK, SOFT

# Points: of a line, from the left edge to the sentences, of the letters, and below each sentence.
LINE_HEIGHT = 11.5
SIGN = 46.0
SIZE = 8.5
BETWEEN = 3
DASHED = (0, (3, 2.5))

# The sentences, or the parts that they are put together of.
COLOURS = (
    "A coloured cell holds a weight. Each colour is one output pixel, and the copy of the kernel that "
    "computes it"
)
SHIFTED = (
    ", shifted to that pixel: in the feature map, a dot at its middle and, for the outer copies, a square "
    "around its inputs."
)
FREE = (
    "A coloured cell holds a weight. Each colour is one output pixel of the window. Pale: a weight of its "
    "own where SDK, which stores shifted copies of one kernel, would have a zero."
)
ZERO = "A zero between weights: the column's copy of the kernel does not cover the input of this row"
OTHER_GROUP = ", or the input is of another group."
UNUSED = "A cell that stays unused."
WINDOW = (
    "The window: its inputs drive the rows, each column sums up its cells, and after one cycle all its "
    "outputs are ready. Then the window moves on. Where a window needs several arrays, their sums are added."
)
PLANE = (
    "Feature map and outputs: one channel of each is drawn. Grey rim: zero padding. Dashed edge: the plane "
    "goes on. Pale: the next windows."
)
GROUP = "Groups: the outputs of a group read its own input channels alone, so each group is a block."
SECOND = (
    "Low-rank: stage 1 (R_) turns the input channels of each group into a few, stage 2 (L, in purple) turns "
    "these into all output channels."
)
SECOND_OF_WINDOWS = (
    "Low-rank: stage 1 (R_) turns the inputs of a window into a few values, stage 2 (L, in purple) turns "
    "these into all outputs of the window."
)
SHARED = "Rows of a window that no longer fit are stored for several windows at once in one shared array."


@dataclass(frozen=True)
class Entry:
    """One sign of the legend, by its name, and the sentence that explains it."""

    sign: str
    sentence: str


def entries(stages: Sequence[Mapping], pair: bool) -> list[Entry]:
    """The sentences that these mappings need.

    Args:
        stages: all that is drawn.
        pair: whether any of it is the second stage of a low-rank pair.
    """
    several = any(max(mapping.window) > 1 for mapping in stages)
    grouped = any(mapping.shape.groups > 1 for mapping in stages)
    shared = any(mapping.regions[0].overflow is not None for mapping in stages)
    colours = f"{COLOURS}."
    if several:
        colours = COLOURS + SHIFTED
    free = [mapping.matrix is not None for mapping in stages]
    if any(free):
        colours = FREE
    zero = f"{ZERO}."
    if grouped:
        zero = ZERO + OTHER_GROUP
    # As a reader asks: what are the cells, what happens in a cycle, what are the planes.
    needed = [Entry("colours", colours)]
    # Windows of free weights alone hold no zeros, but between groups.
    if grouped or not all(free):
        needed.append(Entry("zero", zero))
    needed.append(Entry("unused", UNUSED))
    needed.append(Entry("window", WINDOW))
    needed.append(Entry("plane", PLANE))
    if grouped:
        needed.append(Entry("group", GROUP))
    if pair:
        second = SECOND
        if any(free):
            second = SECOND_OF_WINDOWS
        needed.append(Entry("second", second))
    if shared:
        needed.append(Entry("group", SHARED))
    return needed


def height(legend: Sequence[Entry], width: float) -> float:
    """Points that the legend needs."""
    lines = sum(len(_lines(entry, width)) for entry in legend)
    return LINE_HEIGHT * lines + BETWEEN * len(legend)


def draw(sheet: Sheet, legend: Sequence[Entry], box: Box) -> None:
    """Write the legend."""
    y = box.y
    for entry in legend:
        # The sign stands beside the first line.
        _draw_sign(sheet, entry.sign, Box(box.x, y + 1.5, SIGN - 12, 8))
        for line in _lines(entry, box.width):
            y += LINE_HEIGHT
            sheet.text(box.x + SIGN, y - 2.5, line, size=SIZE, color=INK)
        y += BETWEEN


def _lines(entry: Entry, width: float) -> tuple[str, ...]:
    return wrapped(entry.sentence, width - SIGN, SIZE)


def _draw_sign(sheet: Sheet, sign: str, box: Box) -> None:
    if sign in ("colours", "second"):
        _draw_shades(sheet, box, sign == "second")
    elif sign == "zero":
        sheet.rectangles([box], facecolor=ZERO_CELL, edgecolor="none")
    elif sign == "unused":
        sheet.rectangles([box], facecolor=UNUSED_CELL, edgecolor="none")
    elif sign == "plane":
        sheet.rectangles(
            [box],
            facecolor=PADDING_CELL,
            edgecolor=SOFT,
            linewidth=0.9,
            linestyle=DASHED,
        )
    elif sign == "window":
        sheet.rectangles([box], edgecolor=FRAME, linewidth=1.4)
    else:
        sheet.rectangles([box], edgecolor=FRAME, linewidth=0.6)


def _draw_shades(sheet: Sheet, box: Box, second: bool) -> None:
    """Draw some of the colours of cells side by side."""
    shades = copy_colours((1, 4), second)[0]  # (4, 3)
    side = box.width / len(shades)
    for number, shade in enumerate(shades):
        square = Box(box.x + number * side, box.y, side, box.height)
        sheet.rectangles([square], facecolor=to_hex(shade), edgecolor="none")
