"""One bar of parts: energy, area."""

from __future__ import annotations

from collections.abc import Mapping

from rankfold.chip import energy
from rankfold.chip.layer_by_layer import DIGITAL
from rankfold.report.charts.drawing import WIDTH, Chart, Key, text_width
from rankfold.report.charts.elements import Sketch
from rankfold.report.chip_page.colours import letters_on
from rankfold.report.numbers import GAP, percent
from rankfold.report.palette import GREY

# Of the parts of a chip (Okabe & Ito), as other charts of energy have them.
COLOURS = {
    energy.ARRAYS: "#0072b2",
    energy.UNITS: "#009e73",
    energy.BUFFERS: "#e69f00",
    energy.INTERCONNECT: "#56b4e9",
    energy.MEMORY: "#cc79a7",
    energy.WRITING: "#d55e00",
    energy.LEAKAGE: GREY[1],
    DIGITAL: "#009e73",
}
# Points: of the bar, and between letters and its ends.
HEIGHT, SPACE = 26.0, 4.0


def shares_chart(title: str, parts: Mapping[str, float], amount: str) -> Chart:
    """A bar of parts.

    Args:
        title: what it shows, for readers who cannot see it.
        parts: how much each has; those with nothing are left out.
        amount: a format of one, with its unit.
    """
    drawn = Sketch()
    whole = sum(parts.values())
    keys = []
    left = 0.0
    for name, value in parts.items():
        if not value:
            continue
        colour, wide = COLOURS[name], WIDTH * value / whole
        words = amount.format(value)
        with drawn.mark(f"{name}: {words}, {percent(value / whole, 1)}"):
            drawn.rect((left, 0), (wide, HEIGHT), colour, stroke="#ffffff")
            _label(drawn, left, wide, (f"{name} {words}", name, percent(value / whole, 0)), colour)
        keys.append(Key(f"{name} {words}", colour, "bar"))
        left += wide
    return Chart(drawn.element(title, HEIGHT), tuple(keys))


def _label(drawn: Sketch, left: float, wide: float, choices: tuple[str, ...], colour: str) -> None:
    """The longest words that fit into a part."""
    for words in choices:
        if text_width(words.replace(GAP, " ")) + 2 * SPACE <= wide:
            place = (left + wide / 2, HEIGHT / 2 + 3.2)
            drawn.text(place, words, colour=letters_on(colour), anchor="middle")
            return
