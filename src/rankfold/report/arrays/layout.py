"""`Layout`: where the parts of a picture lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rankfold.mapping import ArraySpec, LowRankMapping, Mapping
from rankfold.report.arrays import legend
from rankfold.report.arrays.arrays import draw_large, draw_row
from rankfold.report.arrays.panel import Panel
from rankfold.report.arrays.planes import draw_input, draw_output, main_regions
from rankfold.report.arrays.sheet import SMALL, Box, Sheet, wrapped
from rankfold.report.arrays.words import caption, layer_in_words, other_windows, pair_caption, size
from rankfold.report.charts.drawing import WIDTH, shorten
from rankfold.report.palette import INK, LINE, SOFT
from rankfold.workload.shape import ConvShape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EDGE, HEAD, LEADING = 8.0, 46.0, 10.8
LARGE, LARGE_OF_PAIR, ROW = 262.0, 212.0, 126.0  # heights of the drawings of a large stage, and of a row at least
MAP, OUTPUT, SMALL_MAP = 150.0, 112.0, 92.0
TEXT_WIDTH = 146.0  # of the words left of a row
STAGES = ("Stage 1, R_", "Stage 2, L")

Line = tuple[str, float, bool]  # text, size, bold


@dataclass(frozen=True)
class Layout:
    """A title, one panel large or a row for each stage of several, and how to read them.

    Attributes:
        shape: the dense layer.
        array: R x C.
        panels: what is drawn.
        network: for the title.
    """

    shape: ConvShape
    array: ArraySpec
    panels: tuple[Panel, ...]
    network: str = ""

    @property
    def large(self) -> bool:
        """Whether a single panel has the whole picture."""
        return len(self.panels) == 1

    @cached_property
    def height(self) -> float:
        """Points of the whole picture."""
        stages = sum(self._height(panel, number) for panel in self.panels for number in range(len(panel.stages)))
        return HEAD + stages + 10 * len(self.panels) + legend.height(self._legend, WIDTH - 2 * EDGE) + 12

    def draw(self, figure: Figure) -> None:
        """Draw everything."""
        sheet = Sheet.on(figure)
        of = f" of {shorten(self.network)}" if self.network else ""
        sheet.text(EDGE, 17, f"{shorten(self.shape.name, 50)}{of} on {self.array} arrays", size=12, fontweight="bold", color=INK)
        sheet.text(EDGE, 31, layer_in_words(self.shape), size=9, color=SOFT)
        y = HEAD
        for panel in self.panels:
            _rule(sheet, y - 6)
            for number in range(len(panel.stages)):
                self._draw_stage(sheet, panel, number, y)
                y += self._height(panel, number)
            y += 10
        _rule(sheet, y - 6)
        legend.draw(sheet, self._legend, Box(EDGE, y, WIDTH - 2 * EDGE, 0))

    @cached_property
    def _legend(self) -> list[legend.Entry]:
        stages = [mapping for panel in self.panels for mapping in panel.stages]
        return legend.entries(stages, any(len(panel.stages) > 1 for panel in self.panels))

    def _height(self, panel: Panel, number: int) -> float:
        words = sum(1.3 * points for _, points, _ in self._words(panel, number))
        return self._large_height + words + 10 if self.large else max(ROW, words + 16)

    @property
    def _large_height(self) -> float:
        return LARGE if len(self.panels[0].stages) == 1 else LARGE_OF_PAIR

    def _words(self, panel: Panel, number: int) -> list[Line]:
        """The lines above a large stage, or left of a row."""
        mapping, pair = panel.stages[number], panel.mapping
        width = WIDTH - 2 * EDGE if self.large else TEXT_WIDTH
        title, size_ = (f"{panel.title}: {panel.meaning}", 10.5) if self.large else (panel.title, 9.5)
        small = 9.0 if self.large else SMALL
        words: list[Line] = []
        if number == 0:
            words += [(line, size_, True) for line in wrapped(title, 0.88 * width, size_)]
            words += [] if self.large else [(line, SMALL, False) for line in wrapped(panel.meaning, width)]
        if isinstance(pair, LowRankMapping):
            if number == 0:
                words += [(line, small, False) for line in wrapped(pair_caption(pair), width, small)]
            stage = f"{STAGES[number]}: {mapping.shape.in_channels} → {mapping.shape.m} channels"
            words += [(line, small, True) for line in wrapped(stage, 0.88 * width, small)]
        phrases = [" · ".join(caption(mapping))] if self.large else caption(mapping)
        phrases.append(other_windows(mapping))
        return words + [(line, small, False) for phrase in phrases for line in wrapped(phrase, width, small)]

    def _draw_stage(self, sheet: Sheet, panel: Panel, number: int, y: float) -> None:
        mapping, second = panel.stages[number], number == 1
        top = y
        for line, points, bold in self._words(panel, number):
            y += 1.3 * points
            sheet.text(EDGE, y - 2, line, size=points, fontweight="bold" if bold else "normal", color=INK)
        if self.large:
            self._draw_large(sheet, mapping, y + 6, second)
        else:
            self._draw_row(sheet, mapping, top, second)

    def _draw_large(self, sheet: Sheet, mapping: Mapping, top: float, second: bool) -> None:
        shape = mapping.shape
        source = "stage 1's outputs" if second else "feature map"
        sheet.text(EDGE, top + 10, f"{source}: {shape.in_channels} × {size(shape.padded_input)}", color=SOFT)
        draw_input(sheet, mapping, Box(EDGE, top + 16, MAP, MAP), second)
        sheet.arrow(EDGE + MAP + 7, top + 16 + OUTPUT / 2, 20)
        left = EDGE + MAP + 32
        right = draw_large(sheet, mapping, Box(left, top, WIDTH - EDGE - OUTPUT - 36 - left, self._large_height), second)
        sheet.arrow(right + 8, top + 16 + OUTPUT / 2, 20)
        box = Box(right + 36, top + 16, OUTPUT, OUTPUT)
        sheet.text(box.x, top + 10, f"outputs: {shape.m} × {size(shape.output)}", color=SOFT)
        whole = draw_output(sheet, mapping, box, second)
        if not whole and len(main_regions(mapping)) > 1:
            sheet.text(box.x, box.bottom + 16, "all output pixels", color=SOFT)
            draw_output(sheet, mapping, Box(box.x, box.bottom + 20, OUTPUT, SMALL_MAP), second, whole=True)

    def _draw_row(self, sheet: Sheet, mapping: Mapping, top: float, second: bool) -> None:
        shape = mapping.shape
        box = Box(EDGE + TEXT_WIDTH + 10, top + 14, SMALL_MAP, SMALL_MAP)
        sheet.text(box.x, top + 9, f"inputs: {shape.in_channels} × {size(shape.padded_input)}", color=SOFT)
        draw_input(sheet, mapping, box, second)
        right = WIDTH - EDGE - SMALL_MAP
        draw_row(sheet, mapping, Box(box.right + 16, box.y, right - box.right - 32, SMALL_MAP + 24), second)
        sheet.text(right, top + 9, f"outputs: {shape.m} × {size(shape.output)}", color=SOFT)
        # Regions lie all over the plane, so they are seen only where all of it is.
        draw_output(sheet, mapping, Box(right, box.y, SMALL_MAP, SMALL_MAP), second, len(main_regions(mapping)) > 1)


def _rule(sheet: Sheet, y: float) -> None:
    sheet.lines([((EDGE, y), (WIDTH - EDGE, y))], color=LINE, linewidth=1)
