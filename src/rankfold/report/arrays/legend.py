"""How to read a picture: signs and sentences for someone who has never seen one."""

from __future__ import annotations

from collections.abc import Sequence

from rankfold.mapping import Mapping
from rankfold.report.arrays.colours import FRAME, PADDING_CELL, UNUSED_CELL, ZERO_CELL, copy_colours, to_hex
from rankfold.report.arrays.sheet import Box, Sheet, wrapped
from rankfold.report.palette import INK, SOFT

LINE_HEIGHT, SIGN, SIZE = 11.5, 46.0, 8.5

Entry = tuple[str, str]  # sign, sentence


def entries(stages: Sequence[Mapping], pair: bool) -> list[Entry]:
    """The sentences that these mappings need."""
    several = any(max(mapping.window) > 1 for mapping in stages)
    grouped = any(mapping.shape.groups > 1 for mapping in stages)
    found = [
        (
            "colours",
            "A coloured cell holds a weight. Each colour is one output pixel, and the copy of the kernel that computes it"
            + (
                ", shifted to that pixel: in the feature map, a dot at its middle and, for the outer copies, a square around "
                "its inputs."
                if several
                else "."
            ),
        ),
        (
            "zero",
            "A zero between weights: the column's copy of the kernel does not cover the input of this row"
            + (", or the input is of another group." if grouped else "."),
        ),
        ("unused", "A cell that stays unused."),
        (
            "window",
            "The window: its inputs drive the rows, each column sums up its cells, and after one cycle all its outputs are "
            "ready. Then the window moves on. Where a window needs several arrays, their sums are added.",
        ),
    ]
    found.append(
        (
            "plane",
            "Feature map and outputs: one channel of each is drawn. Grey rim: zero padding. Dashed edge: the plane goes on. "
            "Pale: the next windows.",
        )
    )
    if grouped:
        found.append(("group", "Groups: the outputs of a group read its own input channels alone, so each group is a block."))
    if pair:
        found.append(
            (
                "second",
                "Low-rank: stage 1 (R_) turns the input channels of each group into a few, stage 2 (L, in purple) turns "
                "these into all output channels.",
            )
        )
    if any(mapping.regions[0].overflow is not None for mapping in stages):
        found.append(("group", "Rows of a window that no longer fit are stored for several windows at once in one shared array."))
    return found


def height(found: Sequence[Entry], width: float) -> float:
    """Points that the legend needs."""
    return LINE_HEIGHT * sum(len(_lines(text, width)) for _, text in found) + 3 * len(found)


def draw(sheet: Sheet, found: Sequence[Entry], box: Box) -> None:
    """Write the legend."""
    y = box.y
    for sign, text in found:
        _sign(sheet, sign, Box(box.x, y + 1.5, SIGN - 12, 8))
        for line in _lines(text, box.width):
            y += LINE_HEIGHT
            sheet.text(box.x + SIGN, y - 2.5, line, size=SIZE, color=INK)
        y += 3


def _lines(text: str, width: float) -> tuple[str, ...]:
    return wrapped(text, width - SIGN, SIZE)


def _sign(sheet: Sheet, sign: str, box: Box) -> None:
    if sign in ("colours", "second"):
        shades = copy_colours((1, 4), sign == "second")[0]
        side = box.width / len(shades)
        for number, shade in enumerate(shades):
            square = Box(box.x + number * side, box.y, side, box.height)
            sheet.rectangles([square], facecolor=to_hex(shade), edgecolor="none")
    elif sign in ("zero", "unused"):
        sheet.rectangles([box], facecolor=ZERO_CELL if sign == "zero" else UNUSED_CELL, edgecolor="none")
    elif sign == "plane":
        sheet.rectangles([box], facecolor=PADDING_CELL, edgecolor=SOFT, linewidth=0.9, linestyle=(0, (3, 2.5)))
    else:
        sheet.rectangles([box], edgecolor=FRAME, linewidth=1.4 if sign == "window" else 0.6)
