"""`Layout`: where the parts of a picture lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rankfold.mapping import ArraySpec
from rankfold.report.arrays import legend
from rankfold.report.arrays.panel import Panel
from rankfold.report.arrays.sheet import Box, Sheet
from rankfold.report.arrays.stage import (
    MARGIN,
    LargeStage,
    RowStage,
    StageDrawing,
)
from rankfold.report.arrays.words import layer_in_words
from rankfold.report.charts.drawing import WIDTH, shorten
from rankfold.report.palette import INK, LINE, SOFT
from rankfold.workload.shape import ConvShape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Points: of the title, below each panel, below the legend, and between the margins.
HEAD = 46.0
BELOW_PANEL = 10.0
BOTTOM = 12.0
INSIDE = WIDTH - 2 * MARGIN


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

    @cached_property
    def height(self) -> float:
        """Points of the whole picture."""
        stages = sum(stage.height for panel in self._panels for stage in panel)
        panels = stages + BELOW_PANEL * len(self.panels)
        return HEAD + panels + legend.height(self._legend, INSIDE) + BOTTOM

    def draw(self, figure: Figure) -> None:
        """Draw everything."""
        sheet = Sheet.on(figure)
        self._write_title(sheet)
        y = HEAD
        for panel in self._panels:
            # Between panels alone: the stages of a pair belong together.
            _rule(sheet, y - 6)
            for stage in panel:
                stage.draw(sheet, y)
                y += stage.height
            y += BELOW_PANEL
        _rule(sheet, y - 6)
        legend.draw(sheet, self._legend, Box(MARGIN, y, INSIDE, 0))

    @cached_property
    def _panels(self) -> list[list[StageDrawing]]:
        """The stages of each panel; a single panel has the whole picture."""
        drawing: type[StageDrawing] = RowStage
        if len(self.panels) == 1:
            drawing = LargeStage
        drawn = []
        for panel in self.panels:
            numbers = range(len(panel.stages))
            drawn.append([drawing(panel, number) for number in numbers])
        return drawn

    @cached_property
    def _legend(self) -> list[legend.Entry]:
        stages = [mapping for panel in self.panels for mapping in panel.stages]
        pair = any(len(panel.stages) > 1 for panel in self.panels)
        return legend.entries(stages, pair)

    def _write_title(self, sheet: Sheet) -> None:
        name = shorten(self.shape.name, 50)
        if self.network:
            name += f" of {shorten(self.network)}"
        title = f"{name} on {self.array} arrays"
        sheet.text(MARGIN, 17, title, size=12, fontweight="bold", color=INK)
        sheet.text(MARGIN, 31, layer_in_words(self.shape), size=9, color=SOFT)


def _rule(sheet: Sheet, y: float) -> None:
    """Draw a line across the picture."""
    left = (MARGIN, y)
    right = (WIDTH - MARGIN, y)
    sheet.lines([(left, right)], color=LINE, linewidth=1)
