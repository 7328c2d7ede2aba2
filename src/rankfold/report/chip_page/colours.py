"""Colours of layers on a chip, and what stands on them."""

from __future__ import annotations

import numpy as np

from rankfold.report.arrays.colours import paler, rgb, to_hex

# Okabe & Ito's colour-blind safe hues, in an order in which neighbours differ in lightness, too. Vermilion is
# that of the busiest part. Where hues come again, numbers say which layer it is.
HUES = ("#0072b2", "#e69f00", "#009e73", "#f0e442", "#b0568a")
BUSIEST = "#d55e00"
JOIN = "#8b93a1"
# How much white they have when they come again.
PALER = (0.0, 0.5)
# Letters on colours, which stay as they are on a dark page.
DARK_LETTERS, WHITE_LETTERS = "#111111", "#ffffff"
# Of 255; letters on what is lighter are dark.
LIGHT = 140


def layer_colour(place: int) -> str:
    """The colour of a layer by its place among those on arrays, from 0."""
    white = PALER[place // len(HUES) % len(PALER)]
    return to_hex(paler(rgb(HUES[place % len(HUES)]), white))


def letters_on(colour: str) -> str:
    """The colour of letters that are read on another one."""
    # Rec. 601 luma.
    light = float(rgb(colour) @ np.array([0.299, 0.587, 0.114]))
    if light > LIGHT:
        return DARK_LETTERS
    return WHITE_LETTERS
