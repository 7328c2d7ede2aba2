"""Colours of cells: one for each output pixel of a window, and greys for cells without a weight."""

from __future__ import annotations

import numpy as np

from rankfold.workload.shape import Pair

Array = np.ndarray

ZERO_CELL, UNUSED_CELL = "#eceff3", "#aeb6c1"
MAP_CELL, PADDING_CELL = "#ffffff", "#eceff3"
FRAME = "#1f2937"

# Okabe & Ito's colour-blind safe hues, but for the reddish purple, which the second stage of a low-rank pair has.
FEW = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#f0e442")
# For more pixels than that: along the window's longer side a ramp whose lightness rises (much like viridis), so that neighbours
# differ in every kind of colour vision; along the shorter side shades of it.
MANY = ("#161a70", "#2c5fa8", "#1f8f6a", "#7fbf30", "#ffe030")
SECOND = ("#5c0a5c", "#a0209c", "#d45ad6", "#e89cf5")
LINE = 8  # pixels of a second stage that follow each other on the ramp, row by row
DARK, LIGHT = 0.45, 0.25  # how far the shades reach towards black and white; more white would look like the greys


def rgb(colour: str) -> Array:
    """(3,) uint8 of `#rrggbb`."""
    return np.frombuffer(bytes.fromhex(colour[1:]), np.uint8)


def copy_colours(window: Pair, second: bool = False) -> Array:
    """(a, b, 3) uint8: a colour for each output pixel of an a x b window, thus for each shifted copy of the kernel.

    Args:
        window: (a, b).
        second: the colour family of a low-rank pair's second stage.
    """
    pixels = window[0] * window[1]
    if not second and pixels <= len(FEW):
        return np.stack([rgb(colour) for colour in FEW[:pixels]]).reshape(*window, 3)
    if second and min(window) > 1 and pixels <= LINE:
        return copy_colours((1, pixels), second).reshape(*window, 3)
    long, short = max(window), min(window)
    # A single pixel takes the middle of the ramp's dark half.
    places = np.linspace(0, 1, long) if long > 1 else np.array([0.35])
    hues = _ramp(SECOND if second else MANY, places)
    shift = np.linspace(-DARK, LIGHT, short) if short > 1 else np.zeros(1)
    target = np.where(shift > 0, 255.0, 0.0)[:, None, None]
    amount = np.abs(shift)[:, None, None]
    shades = (hues * (1 - amount) + target * amount).round().astype(np.uint8)
    return shades if window[1] >= window[0] else shades.transpose(1, 0, 2)


def paler(colours: Array, amount: float) -> Array:
    """Colours moved towards white."""
    return (colours * (1 - amount) + 255 * amount).round().astype(np.uint8)


def to_hex(colour: Array) -> str:
    """`#rrggbb` of (3,) uint8."""
    return "#" + colour.tobytes().hex()


def _ramp(anchors: tuple[str, ...], places: Array) -> Array:
    """(n, 3) colours at places 0 to 1 between the anchors."""
    known = np.stack([rgb(anchor) for anchor in anchors]).astype(float)
    at = np.linspace(0, 1, len(anchors))
    return np.stack([np.interp(places, at, known[:, channel]) for channel in range(3)], axis=1)
