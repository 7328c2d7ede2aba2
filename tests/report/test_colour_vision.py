"""Colours that stand for different things differ, also for those who see fewer of them.

Deuteranopia, protanopia and tritanopia are simulated as Machado, Oliveira & Fernandes (2009) do, at full
severity; differences are CIEDE2000, of which 2 to 3 are seen at a glance side by side.
"""

from itertools import combinations

import pytest
from coloraide import Color

from rankfold.report import palette
from rankfold.report.arrays.colours import FEW, MANY, SECOND
from rankfold.report.charts import energy, robustness
from rankfold.report.chip_page.colours import BUSIEST, HUES, PALER, layer_colour
from rankfold.report.chip_page.shares import COLOURS as PARTS

HUES_OF_METHODS = {
    name: shades for name, shades in vars(palette).items() if name.isupper() and isinstance(shades, tuple)
}
VISIONS = (None, "deutan", "protan", "tritan")


def dark(colours):
    """What stands for colours on a dark page."""
    changed = palette.dark_colours()
    return [changed.get(colour, colour) for colour in colours]


def seen(colour, vision):
    colour = Color(colour).convert("srgb")
    if vision is not None:
        colour = colour.filter(vision, 1, method="machado").clip()
    return colour.convert("lab-d65")


def least_difference(colours):
    """The least CIEDE2000 difference of any two, for any vision."""
    least = []
    for vision in VISIONS:
        in_lab = [seen(colour, vision) for colour in colours]
        least += [one.delta_e(other, method="2000") for one, other in combinations(in_lab, 2)]
    return min(least)


SERIES = {
    "methods": [shades[0] for shades in HUES_OF_METHODS.values()],
    "robustness": robustness.COLOURS,
    "energy": [*(colour for colour, _ in energy.GROUPS.values()), energy.OTHERS[1]],
    # Digital units have one colour under both names that they go by.
    "parts of chips": sorted(set(PARTS.values())),
    "pixels": FEW,
    "ramp": MANY,
    "ramp of second stages": SECOND,
}


ON_PAPER = ("pixels", "ramp", "ramp of second stages")


@pytest.mark.parametrize("name", SERIES)
def test_series_differ_for_everyone(name):
    """On light pages and on dark ones; cells' colours stay on white paper."""
    assert least_difference(SERIES[name]) > 8
    if name not in ON_PAPER:
        assert least_difference(dark(SERIES[name])) > 8


@pytest.mark.parametrize("name", HUES_OF_METHODS)
def test_shades_of_a_hue_differ_for_everyone(name):
    assert least_difference(HUES_OF_METHODS[name]) > 8
    assert least_difference(dark(HUES_OF_METHODS[name])) > 8


@pytest.mark.parametrize("name", HUES_OF_METHODS)
def test_series_stand_out_from_the_page(name):
    """By a contrast of 3:1 (WCAG 2.1, 1.4.11)."""
    for colours, page in (
        (HUES_OF_METHODS[name], palette.LIGHT_PAGE),
        (dark(HUES_OF_METHODS[name]), palette.DARK_PAGE),
    ):
        for colour in colours:
            assert Color(colour).contrast(page["ground"], method="wcag21") >= 3


@pytest.mark.parametrize("page", [palette.LIGHT_PAGE, palette.DARK_PAGE])
def test_words_are_read_easily(page):
    """By a contrast of 4.5:1 (WCAG 2.1, 1.4.3)."""
    for name in ("ink", "soft", "accent"):
        for ground in ("ground", "tint"):
            assert Color(page[name]).contrast(page[ground], method="wcag21") >= 4.5


def test_layers_of_a_chip_differ_beside_their_numbers():
    """Hues come again, paler; each layer has its number on it, too."""
    assert least_difference([*HUES, BUSIEST]) > 8
    assert least_difference([layer_colour(place) for place in range(len(PALER) * len(HUES))]) > 5
