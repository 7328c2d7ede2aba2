"""Drawing with matplotlib's object interface (no pyplot): a figure of exact margins in, an SVG element out."""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankfold.report.palette import INK, LINE, SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 690.0  # points; the page shows a chart about 1.5 times as large, a printed page 0.75 times
SIZE = 9.0  # points, of the letters

# Text stays text, in the page's font. It is laid out as DejaVu Sans, which is wider than the fonts of any system.
STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"], "font.size": SIZE, "text.color": INK, "text.parse_math": False,
    "axes.edgecolor": "#9ca3af", "axes.linewidth": 0.8, "axes.labelcolor": SOFT, "axes.labelsize": SIZE, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": LINE, "grid.linewidth": 0.8,
    "xtick.color": "#9ca3af", "ytick.color": "#9ca3af", "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "xtick.labelsize": SIZE, "ytick.labelsize": SIZE, "svg.fonttype": "none", "svg.hashsalt": "rankfold",
}  # fmt: skip

# Mantissas of ticks on a logarithmic axis, coarse to fine.
STEPS = (
    (1.0, 2.0, 5.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0),
    tuple(n / 10 for n in range(10, 100)),
)

# Letters that the layout font lacks are still written as text, for the page's font.
MISSING_GLYPH = "Glyph .* missing from"
REFERENCE = re.compile(r'(\bid="|href="#|url\(#)')


@dataclass(frozen=True)
class Key:
    """One entry of a chart's legend: a text and its sign, `bar`, `tick`, `dot`, `diamond`, `line` or `dotted`."""

    text: str
    colour: str
    sign: str


@dataclass(frozen=True)
class Chart:
    """A drawing as an SVG element, and its legend, which the page writes above it."""

    svg: str
    keys: tuple[Key, ...] = ()


def svg(name: str, describe: str, height: float, draw: Callable[[Figure], None]) -> str:
    """Run `draw` on a fresh figure of WIDTH x `height` points; the same data give the same bytes.

    Args:
        name: prefix of all ids inside, so that several drawings fit one page.
        describe: what is shown, for readers who cannot see it.
        height: points.
        draw: draws on the figure.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", MISSING_GLYPH)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        FigureCanvasSVG(figure)
        draw(figure)
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing, transparent=True)
    drawn = text.getvalue()
    body = drawn[drawn.index(">", drawn.index("<svg")) + 1 :]
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    body = REFERENCE.sub(rf"\g<1>{name}-", body)
    label = html.escape(describe)
    return f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{label}" class="chart">{body}'.rstrip()


def frame(figure: Figure, left: float, right: float, top: float, bottom: float) -> Axes:
    """Axes with these margins in points."""
    width, height = figure.get_size_inches() * 72
    return figure.add_axes((left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height))


def text_width(text: str, size: float = SIZE) -> float:
    """Width of `text` in points, of its longest line."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", MISSING_GLYPH)
        widths = [text_to_path.get_text_width_height_descent(line, font, ismath=False)[0] for line in text.split("\n")]
    return float(max(widths))


def shorten(text: str, most: int = 34) -> str:
    """`text` on one line, with its middle left out where it is longer than `most` letters."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[len(text) - (most - most // 2) :]}"


def count(value: float, _: object = None) -> str:
    """A tick label: 12,500 or 0.5."""
    return f"{value:,.10g}"


def round_numbers(low: float, high: float, least: int = 3, most: int = 5) -> list[float]:
    """Ticks of a logarithmic axis: round numbers between two bounds, as few as make `least`, and then no more than `most`."""
    found: list[float] = []
    for steps in STEPS:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [step * 10**power for power in powers for step in steps if low <= step * 10**power <= high]
        if len(found) >= least:
            break
    return found[:: -(-len(found) // most)]
