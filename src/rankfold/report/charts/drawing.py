"""Drawing with matplotlib's objects (no pyplot): a figure of exact margins in, an SVG element out."""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankfold.report.palette import EDGE, INK, LINE, SOFT
from rankfold.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Points; the page shows a chart about 1.5 times as large, a printed page 0.75 times.
WIDTH = 690.0
# Points, of the letters.
SIZE = 9.0
# Points in an inch, which matplotlib counts in.
INCH = 72

# Text stays text, in the page's font. It is laid out as DejaVu Sans, which is wider than the fonts of any
# system.
STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": SIZE,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": EDGE,
    "axes.linewidth": 0.8,
    "axes.labelcolor": SOFT,
    "axes.labelsize": SIZE,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": EDGE,
    "ytick.color": EDGE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": SIZE,
    "ytick.labelsize": SIZE,
    "svg.fonttype": "none",
    "svg.hashsalt": "rankfold",
}

# Mantissas of ticks on a logarithmic axis, coarse to fine.
STEPS = (
    (1.0, 2.0, 5.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0),
    tuple(n / 10 for n in range(10, 100)),
)

# Points, of a line's dots and the gaps between them.
DOTTED = (0, (2, 3))

# Without them, the same data give the same bytes whenever they are drawn.
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
# Letters that the layout font lacks are still written as text, for the page's font.
MISSING_GLYPH = "Glyph .* missing from"
# Ids, and what refers to them.
REFERENCE = re.compile(r'(\bid="|href="#|url\(#)')
LABEL = re.compile('aria-label="([^"]*)"')
STYLE_ELEMENT = re.compile(r"<style[^>]*>.*?</style>", re.DOTALL)
# An element of a page has the page's font and background; a file of its own says them itself.
SVG_FILE = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'font-family="system-ui, Helvetica, Arial, sans-serif" style="background: white" '
)


@dataclass(frozen=True)
class Key:
    """One entry of a chart's legend.

    Attributes:
        text: what the sign stands for.
        colour: of the sign.
        sign: `bar`, `tick`, `dot` or `diamond`.
    """

    text: str
    colour: str
    sign: str


@dataclass(frozen=True)
class Chart:
    """A drawing as an SVG element, its legend, which the page writes above it, and what it shows as numbers,
    which the page has behind it.
    """

    svg: str
    keys: tuple[Key, ...] = ()
    table: Table | None = None


def svg(name: str, describe: str, height: float, draw: Callable[[Figure], None]) -> str:
    """Run `draw` on a fresh figure of WIDTH x `height` points; the same data give the same bytes.

    Args:
        name: prefix of all ids inside, so that several drawings fit one page.
        describe: what is shown, for readers who cannot see it.
        height: points.
        draw: draws on the figure.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with drawing_style():
        figure = Figure(figsize=(WIDTH / INCH, height / INCH), dpi=INCH)
        # What is drawn may ask for sizes, which need a canvas.
        FigureCanvasSVG(figure)
        draw(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=NO_METADATA, transparent=True)
    # matplotlib gives ids of one kind to all its figures; the name keeps those of a page apart.
    body = with_prefix(_content(text.getvalue()), name)
    label = html.escape(describe)
    tag = f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{label}" class="chart">'
    return f"{tag}{body}".rstrip()


def with_prefix(drawn: str, prefix: str) -> str:
    """The same elements with a prefix to all ids, so that these are those of no other drawing on the page."""
    return REFERENCE.sub(rf"\g<1>{prefix}-", drawn)


def svg_file(element: str) -> str:
    """An SVG element of a page as the text of a file of its own."""
    file = element.replace("<svg ", SVG_FILE, 1)
    # What it is called by readers who cannot see it, and by browsers when pointed at.
    label = LABEL.search(file)
    if label is not None:
        file = file.replace(">", f"><title>{label[1]}</title>", 1)
    return file + "\n"


@contextmanager
def drawing_style() -> Iterator[None]:
    """Inside, matplotlib draws in the style of all charts, whatever the user has set for other figures."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", MISSING_GLYPH)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def frame(figure: Figure, left: float, right: float, top: float, bottom: float) -> Axes:
    """Axes with these margins in points."""
    width, height = figure.get_size_inches() * INCH
    across = (width - left - right) / width
    up = (height - bottom - top) / height
    return figure.add_axes((left / width, bottom / height, across, up))


def dotted_line(axes: Axes, height: float, colour: str = SOFT) -> None:
    """Draw what everything else is compared with: a thin line across the axes."""
    axes.axhline(height, color=colour, linewidth=0.8, linestyle=DOTTED, zorder=1)


def text_width(text: str, size: float = SIZE) -> float:
    """Width of `text` in points, of its longest line."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size)
    widths = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", MISSING_GLYPH)
        for line in text.split("\n"):
            width, _, _ = text_to_path.get_text_width_height_descent(line, font, ismath=False)
            widths.append(float(width))
    return max(widths)


def shorten(text: str, most: int = 34) -> str:
    """`text` on one line, with its middle left out where it is longer than `most` letters."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    # Names of layers differ most at their ends.
    half = most // 2
    beginning = line[: half - 1]
    end = line[len(line) - (most - half) :]
    return f"{beginning}…{end}"


def count(value: float, _: object = None) -> str:
    """A tick label: 12,500 or 0.5."""
    return f"{value:,.10g}"


def round_numbers(low: float, high: float, least: int = 3, most: int = 5) -> list[float]:
    """Ticks of a logarithmic axis.

    Args:
        low: the axis starts here.
        high: the axis ends here.
        least: so many ticks are wanted; of all sets of round numbers that have them, the coarsest is taken.
        most: of more ticks than that, only every second (third, ...) one stays.
    """
    ticks: list[float] = []
    for mantissas in STEPS:
        ticks = _ticks(mantissas, low, high)
        if len(ticks) >= least:
            break
    every = max(1, math.ceil(len(ticks) / most))
    return ticks[::every]


def _ticks(mantissas: tuple[float, ...], low: float, high: float) -> list[float]:
    """All numbers with these mantissas between two bounds, rising."""
    first = math.floor(math.log10(low))
    last = math.ceil(math.log10(high))
    ticks = []
    for power in range(first, last + 1):
        for mantissa in mantissas:
            tick = mantissa * 10**power
            if low <= tick <= high:
                ticks.append(tick)
    return ticks


def _content(file: str) -> str:
    """What is inside the `svg` element of a file, and its end."""
    start = file.index(">", file.index("<svg")) + 1
    # Styles would hold for the whole page.
    return STYLE_ELEMENT.sub("", file[start:])
