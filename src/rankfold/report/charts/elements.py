"""`Sketch`: a drawing of plain SVG elements, whose marks say what they are when pointed at."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rankfold.report.charts.drawing import SIZE, WIDTH
from rankfold.report.palette import INK

Point = tuple[float, float]


class Sketch:
    """A drawing of WIDTH points, measured from its top left corner.

    Lengths are points, texts are escaped, and the same calls give the same bytes.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []

    def rect(
        self, place: Point, size: Point, fill: str, *, stroke: str = "", width: float = 0.8, round: float = 0
    ) -> None:
        """A rectangle with its left top corner at `place`, (width, height) large."""
        (x, y), (wide, high) = place, size
        outline = f' stroke="{stroke}" stroke-width="{number(width)}"' if stroke else ""
        corners = f' rx="{number(round)}"' if round else ""
        self._parts.append(
            f'<rect x="{number(x)}" y="{number(y)}" width="{number(wide)}" height="{number(high)}" '
            f'fill="{fill}"{corners}{outline}/>'
        )

    def polygon(self, points: Sequence[Point], fill: str, *, opacity: float = 1) -> None:
        """A filled polygon."""
        at = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        self._parts.append(f'<polygon points="{at}" fill="{fill}"{_seen_through(opacity)}/>')

    def line(self, start: Point, end: Point, colour: str, *, width: float = 0.8, dashes: str = "") -> None:
        """A straight line; `dashes` as SVG has them."""
        (x, y), (to_x, to_y) = start, end
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self._parts.append(
            f'<line x1="{number(x)}" y1="{number(y)}" x2="{number(to_x)}" y2="{number(to_y)}" '
            f'stroke="{colour}" stroke-width="{number(width)}"{dashed}/>'
        )

    def bars(
        self,
        spans: Sequence[tuple[float, float]],
        top: float,
        height: float,
        fill: str,
        *,
        opacity: float = 1,
    ) -> None:
        """Bars of one height from left to right ends, as one element."""
        path = "".join(
            f"M{number(left)} {number(top)}h{number(right - left)}v{number(height)}h{number(left - right)}z"
            for left, right in spans
        )
        self._parts.append(f'<path d="{path}" fill="{fill}"{_seen_through(opacity)}/>')

    def dot(self, middle: Point, radius: float, colour: str) -> None:
        """A filled circle with a white edge."""
        x, y = middle
        self._parts.append(
            f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(radius)}" fill="{colour}" '
            'stroke="#ffffff" stroke-width="1"/>'
        )

    def text(
        self,
        place: Point,
        words: str,
        *,
        size: float = SIZE,
        colour: str = INK,
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        """Words on a line that begins, ends or has its middle at `place`, as `anchor` says."""
        x, y = place
        weight = ' font-weight="650"' if bold else ""
        self._parts.append(
            f'<text x="{number(x)}" y="{number(y)}" font-size="{number(size)}" fill="{colour}" '
            f'text-anchor="{anchor}"{weight}>{html.escape(words)}</text>'
        )

    @contextmanager
    def mark(self, told: str, of: str = "", *, stop: bool = False) -> Iterator[None]:
        """What is drawn inside is one thing, which says what it is.

        Args:
            told: what it is, in lines.
            of: marks of one name are shown together.
            stop: whether keys that go from thing to thing stop here.
        """
        named = f' data-of="{html.escape(of)}"' if of else ""
        stops = ' tabindex="0" role="img"' if stop else ""
        self._parts.append(f'<g class="mark"{named}{stops}><title>{html.escape(told)}</title>')
        yield
        self._parts.append("</g>")

    def element(self, describe: str, height: float) -> str:
        """All of it as an SVG element of a page.

        Args:
            describe: what is shown, for readers who cannot see it.
            height: points.
        """
        # A group, since its marks can be reached one by one.
        label = html.escape(describe)
        return (
            f'<svg viewBox="0 0 {WIDTH:g} {number(height)}" role="group" aria-label="{label}" '
            f'class="chart">{"".join(self._parts)}</svg>'
        )


def _seen_through(opacity: float) -> str:
    if opacity == 1:
        return ""
    return f' fill-opacity="{number(opacity)}"'


def number(value: float) -> str:
    """A length as SVG has it, in hundredths of a point."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
