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
from rankfold.report.charts.drawing import INCH, text_width
from rankfold.report.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray
Point = tuple[float, float]

# Of figures that `drawing.svg` makes.
SVG_DPI = INCH
# Pixels per point of images in an SVG file, which are shown at any size.
SVG_DENSITY = 4.0
# Pixels along a side of an image in an SVG file; larger arrays lose their cells.
MOST = 1024
PIXELATED = re.compile(r' style="image-rendering:[^"]*"')
IMAGE_ID = re.compile(r"\sid=\"[\w-]*image[0-9a-f]+\"")
# Points, of the small letters.
SMALL = 8.0
# The pixels of a PNG file make letters up to this much wider.
SPARE = 1.03


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

    @property
    def middle(self) -> Point:
        """The point in the middle."""
        return self.x + self.width / 2, self.y + self.height / 2

    def fit(self, height: float, width: float) -> Box:
        """The largest box of these proportions in the upper left corner."""
        scale = min(self.height / height, self.width / width)
        return Box(self.x, self.y, width * scale, height * scale)

    def inset(self, amount: float) -> Box:
        """The box without a rim of this width."""
        return Box(
            self.x + amount,
            self.y + amount,
            self.width - 2 * amount,
            self.height - 2 * amount,
        )


@dataclass(frozen=True)
class Sheet:
    """Axes in points, y downwards, and the pixels per point that images need."""

    axes: Axes
    density: float

    @classmethod
    def on(cls, figure: Figure) -> Sheet:
        """Cover a figure."""
        width, height = figure.get_size_inches() * INCH
        axes = figure.add_axes((0, 0, 1, 1))
        # Downwards, as one reads.
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        # Side by side in an SVG file, images would else be drawn into one of low resolution.
        figure.suppressComposite = True
        if figure.dpi == SVG_DPI:
            return cls(axes, SVG_DENSITY)
        return cls(axes, figure.dpi / INCH)

    def image(self, box: Box, colours: Array) -> None:
        """Draw (h, w, 3) uint8 colours, one rectangle for each."""
        self.axes.imshow(
            self._pixels(box, colours),
            extent=(box.x, box.right, box.bottom, box.y),
            aspect="auto",
            interpolation="none",
            zorder=1,
        )

    def _pixels(self, box: Box, colours: Array) -> Array:
        """The image that shows these colours in a box."""
        rows, columns, _ = colours.shape
        # Pixels of the box, as many as the density asks for.
        height = self.density * box.height
        width = self.density * box.width
        if self.density == SVG_DENSITY and max(rows, columns) <= MOST:
            # Whole pixels for each cell keep the file small and its edges sharp at any size.
            times = math.ceil(max(height / rows, width / columns))
            return colours.repeat(times, axis=0).repeat(times, axis=1)
        return resampled(colours, _within_limits(height), _within_limits(width))

    def rectangles(self, boxes: Sequence[Box], **style: Any) -> None:
        """Draw rectangles of one style, without filling unless `facecolor` is given."""
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Rectangle

        patches = [Rectangle((box.x, box.y), box.width, box.height) for box in boxes]
        # Above images and lines, below words, unless the caller has other plans.
        style = {"facecolor": "none", "zorder": 3, **style}
        self.axes.add_collection(PatchCollection(patches, **style), autolim=False)

    def lines(self, lines: Sequence[tuple[Point, Point]], **style: Any) -> None:
        """Draw straight lines."""
        from matplotlib.collections import LineCollection

        style = {"zorder": 2, **style}
        self.axes.add_collection(LineCollection(list(lines), **style), autolim=False)

    def dots(self, places: Sequence[Point], radius: float, **style: Any) -> None:
        """Draw filled circles."""
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Circle

        patches = [Circle(place, radius) for place in places]
        style = {"zorder": 4, **style}
        self.axes.add_collection(PatchCollection(patches, **style), autolim=False)

    def grid(self, box: Box, rows: int, columns: int, **style: Any) -> None:
        """Draw the lines between rows and columns."""
        down = box.height / rows
        right = box.width / columns
        # The border is drawn by others: frames are not of the same style.
        lines = []
        for row in range(1, rows):
            y = box.y + row * down
            lines.append(((box.x, y), (box.right, y)))
        for column in range(1, columns):
            x = box.x + column * right
            lines.append(((x, box.y), (x, box.bottom)))
        self.lines(lines, **style)

    def arrow(self, x: float, y: float, length: float, colour: str = INK) -> None:
        """Draw an arrow to the right."""
        style = {
            "arrowstyle": "-|>",
            "color": colour,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        end = (x + length, y)
        self.axes.annotate("", end, (x, y), arrowprops=style, zorder=5)

    def text(self, x: float, y: float, text: str, size: float = SMALL, **style: Any) -> None:
        """Write with the base line at y."""
        style = {"va": "baseline", "zorder": 6, **style}
        self.axes.text(x, y, text, fontsize=size, **style)


def _within_limits(pixels: float) -> int:
    return max(1, min(MOST, round(pixels)))


# Heights are asked for before anything is drawn, and the same words come again in every panel.
@lru_cache(maxsize=4096)
def wrapped(text: str, width: float, size: float = SMALL) -> tuple[str, ...]:
    """Break a text into lines of at most `width` points, between words."""
    lines: list[str] = []
    left = 0.0  # points free on the last line
    space = _word_width(" ", size)
    for word in text.split():
        taken = _word_width(word, size) + space
        # A word that is wider than a line has one of its own.
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
