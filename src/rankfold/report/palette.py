"""The colours of charts and pages."""

from __future__ import annotations

INK, SOFT, LINE = "#1f2937", "#6b7280", "#e5e7eb"
PALE = "#d5dae1"
EDGE = "#9ca3af"  # of axes and planes

# A hue, each with darker and lighter shades for several runs of one method. Okabe & Ito's colour-blind safe
# ones first. Which method has which hue is said by the kinds of layers (`report.kinds`).
Shades = tuple[str, ...]
GREY: Shades = ("#6b7280", "#374151", "#8b93a1")
VERMILION: Shades = ("#d55e00", "#8f3f00", "#cf8440")
BLUE: Shades = ("#0072b2", "#00395c", "#3d9bd6", "#5b6fae", "#1f8a99")
GREEN: Shades = ("#009e73", "#005c43", "#55a888")
PINK: Shades = ("#b0568a", "#7d2f5f", "#cc79a7", "#8d5a9e")
OCHRE: Shades = ("#9a7b00", "#6b5500", "#bd9d1f", "#7f7a35")
VIOLET: Shades = ("#6a4fb3", "#41307a", "#9380cf", "#57489c")
MOSS: Shades = ("#4d7c0f", "#2f4d08", "#7fa63f", "#5f7a3a")
BROWN: Shades = ("#7a5c3e", "#513a25", "#a3835f")
TEAL: Shades = ("#00838f", "#00565e", "#3fa7b1", "#4c7f86")
CRIMSON: Shades = ("#a4133c", "#6d0c28", "#cf5c7c")
INDIGO: Shades = ("#4b4fa6", "#2c2f6b", "#8083cc")
