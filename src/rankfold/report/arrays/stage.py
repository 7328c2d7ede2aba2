"""One stage of a panel: its words, and its feature map, arrays and outputs, large or in a row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from rankfold.mapping import Mapping
from rankfold.report.arrays.panel import Panel
from rankfold.report.arrays.planes import (
    draw_input,
    draw_output,
    main_regions,
    outputs_drawn,
)
from rankfold.report.arrays.sheet import SMALL, Box, Sheet, wrapped
from rankfold.report.arrays.tiles import draw_large, draw_row
from rankfold.report.arrays.words import caption, other_windows, size
from rankfold.report.charts.drawing import WIDTH
from rankfold.report.palette import INK, SOFT

# Points: left and right of the whole picture.
MARGIN = 8.0
# Height of a line over that of its letters.
LEADING = 1.3
# How many letters of a line fit where they are bold.
BOLD = 0.88

# Heights of the drawing of a large stage, alone or one of a pair.
LARGE, LARGE_OF_PAIR = 262.0, 212.0
# Sides of planes: of a large stage's feature map and outputs, and of both in a row.
MAP, OUTPUT, SMALL_MAP = 150.0, 112.0, 92.0
# Height of a row at least, and width of the words left of it.
ROW = 126.0
TEXT_WIDTH = 146.0

# What is stored of W ~ L R_, in the order in which it runs.
STAGES = ("Stage 1, R_", "Stage 2, L")


@dataclass(frozen=True)
class Line:
    """A line of text, with the size of its letters in points."""

    text: str
    size: float
    bold: bool = False

    @property
    def height(self) -> float:
        """Points from the line above."""
        return LEADING * self.size


@dataclass(frozen=True)
class StageDrawing(ABC):
    """The drawing of one stage of a panel.

    Attributes:
        panel: what it is of.
        number: 0, or 1 for the second stage of a low-rank pair.
        width: points of its lines.
        title_size: points of the letters of the panel's title.
        text_size: points of all other letters.
    """

    panel: Panel
    number: int

    width: ClassVar[float]
    title_size: ClassVar[float]
    text_size: ClassVar[float]

    @property
    def mapping(self) -> Mapping:
        """What is drawn."""
        return self.panel.stages[self.number]

    @property
    def second(self) -> bool:
        """Whether it is the second stage of a pair, which has colours of its own."""
        return self.number == 1

    @property
    @abstractmethod
    def height(self) -> float:
        """Points that it needs."""

    @abstractmethod
    def draw(self, sheet: Sheet, top: float) -> None:
        """Draw it below `top`."""

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """Its words; the first stage says what the whole panel is."""
        lines: list[Line] = []
        # The words of the whole panel stand above its first stage.
        if self.number == 0:
            lines += self._heading()
            lines += self._wrapped(self.panel.sums or "")
        if len(self.panel.stages) > 1:
            lines += self._wrapped(f"{STAGES[self.number]}: {_sizes_in_words(self.mapping)}", bold=True)
        # There may be no other windows; an empty phrase has no line.
        for phrase in (*self._captions(), other_windows(self.mapping)):
            lines += self._wrapped(phrase)
        return tuple(lines)

    @property
    def words_height(self) -> float:
        """Points that its words need."""
        return sum(line.height for line in self.lines)

    @abstractmethod
    def _heading(self) -> list[Line]:
        """The panel's title and meaning."""

    @abstractmethod
    def _captions(self) -> Sequence[str]:
        """The numbers of the mapping; each begins a line."""

    def _wrapped(self, text: str, bold: bool = False) -> list[Line]:
        return self._lines(text, self.text_size, bold)

    def _lines(self, text: str, points: float, bold: bool) -> list[Line]:
        """A text in lines that are no wider than allowed."""
        width = self.width
        if bold:
            width *= BOLD
        return [Line(line, points, bold) for line in wrapped(text, width, points)]

    def _write(self, sheet: Sheet, top: float) -> float:
        """Write the words below `top`; returns where they end."""
        y = top
        for line in self.lines:
            weight = "normal"
            if line.bold:
                weight = "bold"
            y += line.height
            sheet.text(
                MARGIN,
                y - 2,
                line.text,
                size=line.size,
                fontweight=weight,
                color=INK,
            )
        return y


class LargeStage(StageDrawing):
    """A stage that has the whole width: its words above its drawing."""

    width = WIDTH - 2 * MARGIN
    title_size = 10.5
    text_size = 9.0

    @property
    def height(self) -> float:
        """Points that it needs."""
        return self._drawing_height + self.words_height + 10

    def draw(self, sheet: Sheet, top: float) -> None:
        """Draw it below `top`, from left to right: feature map, arrays, outputs."""
        below_words = self._write(sheet, top) + 6
        # Names of planes are above them; arrows point at the middle of the outputs.
        planes = below_words + 16
        arrow = planes + OUTPUT / 2
        self._draw_map(sheet, planes)
        sheet.arrow(MARGIN + MAP + 7, arrow, 20)
        # What is drawn of the arrays says where the outputs begin; they need this much at the right.
        left = MARGIN + MAP + 32
        width = WIDTH - MARGIN - OUTPUT - 36 - left
        room = Box(left, below_words, width, self._drawing_height)
        right = draw_large(sheet, self.mapping, room, self.second)
        sheet.arrow(right + 8, arrow, 20)
        self._draw_outputs(sheet, Box(right + 36, planes, OUTPUT, OUTPUT))

    @property
    def _drawing_height(self) -> float:
        if len(self.panel.stages) == 1:
            return LARGE
        return LARGE_OF_PAIR

    def _draw_map(self, sheet: Sheet, top: float) -> None:
        shape = self.mapping.shape
        source = "feature map"
        if self.second:
            source = "stage 1's outputs"
        words = f"{source}: {shape.in_channels} × {size(shape.padded_input)}"
        sheet.text(MARGIN, top - 6, words, color=SOFT)
        draw_input(sheet, self.mapping, Box(MARGIN, top, MAP, MAP), self.second)

    def _draw_outputs(self, sheet: Sheet, box: Box) -> None:
        sheet.text(
            box.x,
            box.y - 6,
            _outputs_in_words(self.mapping),
            color=SOFT,
        )
        whole = draw_output(sheet, self.mapping, box, self.second)
        # Regions lie all over the plane: where a part is shown, all of it is drawn once more, small.
        if not whole and len(main_regions(self.mapping)) > 1:
            sheet.text(box.x, box.bottom + 16, "all output pixels", color=SOFT)
            below = Box(box.x, box.bottom + 20, OUTPUT, SMALL_MAP)
            draw_output(sheet, self.mapping, below, self.second, whole=True)

    def _heading(self) -> list[Line]:
        title = f"{self.panel.title}: {self.panel.meaning}"
        return self._lines(title, self.title_size, bold=True)

    def _captions(self) -> Sequence[str]:
        return [" · ".join(caption(self.mapping))]


class RowStage(StageDrawing):
    """A stage among others: its words left of its drawing."""

    width = TEXT_WIDTH
    title_size = 9.5
    text_size = SMALL

    @property
    def height(self) -> float:
        """Points that it needs."""
        return max(ROW, self.words_height + 16)

    def draw(self, sheet: Sheet, top: float) -> None:
        """Draw it below `top`, from left to right: words, feature map, arrays, outputs."""
        self._write(sheet, top)
        shape = self.mapping.shape
        regions = main_regions(self.mapping)
        source = Box(MARGIN + TEXT_WIDTH + 10, top + 14, SMALL_MAP, SMALL_MAP)
        sheet.text(
            source.x,
            top + 9,
            f"inputs: {shape.in_channels} × {size(shape.padded_input)}",
            color=SOFT,
        )
        draw_input(sheet, self.mapping, source, self.second)
        right = WIDTH - MARGIN - SMALL_MAP
        room = Box(
            source.right + 16,
            source.y,
            right - source.right - 32,
            SMALL_MAP + 24,
        )
        draw_row(sheet, self.mapping, room, self.second)
        sheet.text(
            right,
            top + 9,
            _outputs_in_words(self.mapping),
            color=SOFT,
        )
        target = Box(right, source.y, SMALL_MAP, SMALL_MAP)
        # Regions lie all over the plane, so they are seen only where all of it is.
        draw_output(sheet, self.mapping, target, self.second, whole=len(regions) > 1)

    def _heading(self) -> list[Line]:
        title = self._lines(self.panel.title, self.title_size, bold=True)
        return title + self._wrapped(self.panel.meaning)

    def _captions(self) -> Sequence[str]:
        return caption(self.mapping)


def _sizes_in_words(mapping: Mapping) -> str:
    """What a stage of a pair reads and gives."""
    shape = mapping.shape
    if mapping.matrix is None:
        return f"{shape.in_channels} → {shape.m} channels"
    inputs = shape.groups * shape.n
    if mapping.support is not None:
        inputs = int(mapping.support.sum())
    return f"{inputs:,} inputs → {shape.m:,} outputs of a window"


def _outputs_in_words(mapping: Mapping) -> str:
    """Channels and size of the output planes."""
    channels = mapping.shape.m
    if mapping.matrix is not None:
        channels, _ = mapping.matrix.outputs
    return f"outputs: {channels} × {size(outputs_drawn(mapping))}"
