"""`Sheet`: a figure measured in points from its top left corner, and what is drawn on it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from rankfold.report.arrays.cells import resampled
from rankfold.report.charts.drawing import text_width
from rankfold.report.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray
SVG_DPI = 72  # of figures that `drawing.svg` makes
SVG_DENSITY = 4.0  # pixels per point of images in an SVG file, which are shown at any size
MOST = 1024  # pixels along a side of an image in an SVG file; larger arrays lose their cells
PIXELATED = re.compile(r' style="image-rendering:[^"]*"')
IMAGE_ID = re.compile(r"\sid=\"[\w-]*image[0-9a-f]+\"")
SMALL = 8.0  # points, of the small letters
SPARE = 1.03  # pixels of a PNG file make letters up to this much wider


@dataclass(frozen=True)
class Box:
    """A rectangle: left, top, width and height in points."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y + self.height

    def fit(self, height: float, width: float) -> Box:
        """The largest box of these proportions in the upper left corner."""
        scale = min(self.height / height, self.width / width)
        return Box(self.x, self.y, width * scale, height * scale)

    def inset(self, amount: float) -> Box:
        """The box without a rim of this width."""
        return Box(self.x + amount, self.y + amount, self.width - 2 * amount, self.height - 2 * amount)


@dataclass(frozen=True)
class Sheet:
    """Axes in points, y downwards, and the pixels per point that images need."""

    axes: Axes
    density: float

    @classmethod
    def on(cls, figure: Figure) -> Sheet:
        """Cover a figure."""
        width, height = figure.get_size_inches() * 72
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        # Side by side in an SVG file, images would else be drawn into one of low resolution.
        figure.suppressComposite = True
        return cls(axes, SVG_DENSITY if figure.dpi == SVG_DPI else figure.dpi / 72)

    def image(self, box: Box, colours: Array) -> None:
        """Draw (h, w, 3) uint8 colours, one rectangle for each."""
        if self.density == SVG_DENSITY and max(colours.shape) <= MOST:
            # Whole pixels for each cell keep the file small and its edges sharp at any size.
            times = math.ceil(max(self.density * box.height / colours.shape[0], self.density * box.width / colours.shape[1]))
            colours = colours.repeat(times, axis=0).repeat(times, axis=1)
        else:
            size = (max(1, min(MOST, round(side * self.density))) for side in (box.height, box.width))
            colours = resampled(colours, *size)
        extent = (box.x, box.right, box.bottom, box.y)
        self.axes.imshow(colours, extent=extent, aspect="auto", interpolation="none", zorder=1)

    def rectangles(self, boxes: Sequence[Box], **style: Any) -> None:
        """Draw rectangles of one style, without filling unless `facecolor` is given."""
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Rectangle

        patches = [Rectangle((box.x, box.y), box.width, box.height) for box in boxes]
        self.axes.add_collection(PatchCollection(patches, **{"facecolor": "none", "zorder": 3, **style}), autolim=False)

    def lines(self, lines: Sequence[tuple[tuple[float, float], tuple[float, float]]], **style: Any) -> None:
        """Draw straight lines."""
        from matplotlib.collections import LineCollection

        self.axes.add_collection(LineCollection(list(lines), **{"zorder": 2, **style}), autolim=False)

    def dots(self, places: Sequence[tuple[float, float]], radius: float, **style: Any) -> None:
        """Draw filled circles."""
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Circle

        patches = [Circle(place, radius) for place in places]
        self.axes.add_collection(PatchCollection(patches, **{"zorder": 4, **style}), autolim=False)

    def grid(self, box: Box, rows: int, columns: int, **style: Any) -> None:
        """Draw the lines between rows and columns."""
        down, right = box.height / rows, box.width / columns
        across = [((box.x, box.y + i * down), (box.right, box.y + i * down)) for i in range(1, rows)]
        along = [((box.x + i * right, box.y), (box.x + i * right, box.bottom)) for i in range(1, columns)]
        self.lines(across + along, **style)

    def arrow(self, x: float, y: float, length: float, colour: str = INK) -> None:
        """Draw an arrow to the right."""
        self.axes.annotate(
            "", (x + length, y), (x, y), arrowprops={"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0}, zorder=5
        )

    def text(self, x: float, y: float, text: str, size: float = SMALL, **style: Any) -> None:
        """Write with the base line at y."""
        self.axes.text(x, y, text, fontsize=size, **{"va": "baseline", "zorder": 6, **style})


@lru_cache(maxsize=4096)
def wrapped(text: str, width: float, size: float = SMALL) -> tuple[str, ...]:
    """Break a text into lines of at most `width` points, between words."""
    lines: list[str] = []
    left = 0.0
    for word in text.split():
        taken = _word_width(word, size) + _word_width(" ", size)
        if lines and taken <= left:
            lines[-1] += f" {word}"
            left -= taken
        else:
            lines.append(word)
            left = width - taken
    return tuple(lines)


@lru_cache(maxsize=4096)
def _word_width(word: str, size: float) -> float:
    return SPARE * text_width(word, size)


def smooth(svg: str) -> str:
    """Let browsers scale images smoothly: they hold several pixels for each cell already, or less than one.

    Equal images would also have equal ids, which nothing refers to.
    """
    return IMAGE_ID.sub("", PIXELATED.sub("", svg))
