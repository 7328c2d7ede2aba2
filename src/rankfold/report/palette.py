"""The colours of charts and pages."""

from __future__ import annotations

INK, SOFT, LINE = "#1f2937", "#6b7280", "#e5e7eb"
PALE = "#d5dae1"
EDGE = "#9ca3af"  # of axes and planes

# What pages are made of, by the names that the style has for it, on a light and on a dark ground.
LIGHT_PAGE = {
    "ground": "#ffffff",
    "ink": INK,
    "soft": "#5b6472",
    "line": LINE,
    "rule": EDGE,
    "tint": "#f7f8fa",
    "accent": "#0072b2",
    "shade": "rgba(31, 41, 55, .3)",
}
DARK_PAGE = {
    "ground": "#12161d",
    "ink": "#e4e8ee",
    "soft": "#a3adba",
    "line": "#2b323d",
    "rule": "#6b7280",
    "tint": "#1a2029",
    "accent": "#62b5e5",
    "shade": "rgba(0, 0, 0, .8)",
}

# A hue, each with darker and lighter shades for several runs of one method. Which method has which hue is
# said by the kinds of layers (`report.kinds`). Grey, vermilion, blue and green are Okabe & Ito's; the others
# were found by a search for first shades that differ most from each other, and shades of one hue that do, for
# every kind of colour vision (`tests/report/test_colour_vision.py`). All are dark enough on white (3:1).
Shades = tuple[str, ...]
GREY: Shades = ("#6b7280", "#374151", "#8b93a1")
VERMILION: Shades = ("#d55e00", "#7e2700", "#3f0900")
BLUE: Shades = ("#0072b2", "#003a6e", "#3e8dc8", "#00578e", "#002146")
GREEN: Shades = ("#009e73", "#005939", "#002916")
PINK: Shades = ("#bb82af", "#683b5f", "#926288", "#350b2f")
OCHRE: Shades = ("#504a01", "#99955d", "#76713a", "#252000")
VIOLET: Shades = ("#a57ef6", "#583296", "#7f5cc4", "#2b005d")
MOSS: Shades = ("#728f46", "#344b04", "#546d2d", "#142600")
BROWN: Shades = ("#805e45", "#311803", "#a5856d")
TEAL: Shades = ("#104d5d", "#6395a5", "#407180", "#002532")
CRIMSON: Shades = ("#570719", "#b3676c", "#863e45")
INDIGO: Shades = ("#161979", "#5b73cd", "#37499f")

# On dark pages: what stands for the shades above, in their order, and for what is neutral.
DARK_SHADES: dict[Shades, Shades] = {
    GREY: ("#a3adba", "#5b6470", "#7e8794"),
    VERMILION: ("#d55e00", "#ff9250", "#ffc5a2"),
    BLUE: ("#0072b2", "#308dcf", "#59b3f7", "#a7dfff", "#daf6ff"),
    GREEN: ("#009e73", "#00724c", "#4fcb9d"),
    PINK: ("#967389", "#b692a9", "#ddb7cf", "#ffe4fd"),
    OCHRE: ("#bdb766", "#6d6607", "#908938", "#efe997"),
    VIOLET: ("#cbb5fd", "#705b9c", "#947ec2", "#f5ecff"),
    MOSS: ("#edfb56", "#636a00", "#868f00", "#b1bc00"),
    BROWN: ("#8b5a3c", "#b37f60", "#e0aa8a"),
    TEAL: ("#c1f3fb", "#3d6c73", "#608f97", "#8abbc3"),
    CRIMSON: ("#ffc3bb", "#8d5953", "#b37c75"),
    INDIGO: ("#8082fd", "#5955cc", "#adb5ff"),
}
DARK_NEUTRALS = {
    INK: "var(--ink)",
    LINE: "var(--line)",
    EDGE: "var(--rule)",
    PALE: "#3a424f",
    LIGHT_PAGE["tint"]: "var(--tint)",
    "#ffffff": "var(--ground)",
}


def dark_colours() -> dict[str, str]:
    """What stands on a dark page for each colour of drawings that changes there."""
    changed = dict(DARK_NEUTRALS)
    for light, dark in DARK_SHADES.items():
        changed.update(zip(light, dark, strict=True))
    return {light: dark for light, dark in changed.items() if light != dark}
