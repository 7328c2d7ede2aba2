"""Colours of cells: one for each output pixel of a window, and greys for cells without a weight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rankfold.workload.shape import Pair

Array = np.ndarray

# Cells without a weight, and cells of feature maps.
ZERO_CELL = "#eceff3"
UNUSED_CELL = "#aeb6c1"
MAP_CELL = "#ffffff"
PADDING_CELL = "#eceff3"
FRAME = "#1f2937"

# Okabe & Ito's colour-blind safe hues, but for the reddish purple, which the second stage of a low-rank pair
# has.
FEW = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#f0e442")
# For more pixels than that: along the window's longer side a ramp whose lightness rises (much like viridis),
# so that neighbours differ in every kind of colour vision; along the shorter side shades of it.
MANY = ("#161a70", "#2c5fa8", "#1f8f6a", "#7fbf30", "#ffe030")
SECOND = ("#5c0a5c", "#a0209c", "#d45ad6", "#e89cf5")
# Pixels of a second stage that follow each other on the ramp, row by row; of more, rows are shades.
LINE = 8
# Where on the ramp a single pixel is: in its dark half.
ALONE = 0.35
# How far the shades reach towards black and white; more white would look like the greys.
DARK, LIGHT = 0.45, 0.25


def rgb(colour: str) -> Array:
    """(3,) uint8 of `#rrggbb`."""
    return np.frombuffer(bytes.fromhex(colour[1:]), np.uint8)


def copy_colours(window: Pair, second: bool = False) -> Array:
    """A colour for each output pixel of a window, thus for each shifted copy of the kernel.

    Args:
        window: (a, b).
        second: the colour family of a low-rank pair's second stage.

    Returns:
        (a, b, 3) uint8.
    """
    pixels = window[0] * window[1]
    if not second and pixels <= len(FEW):
        hues = [rgb(colour) for colour in FEW[:pixels]]
        return np.stack(hues).reshape(*window, 3)
    if second and min(window) > 1 and pixels <= LINE:
        return copy_colours((1, pixels), second).reshape(*window, 3)
    anchors: Sequence[str] = MANY
    if second:
        anchors = SECOND
    # The ramp runs along the longer side.
    shades = _shades(anchors, min(window), max(window))
    height, width = window
    if width < height:
        return shades.transpose(1, 0, 2)
    return shades


def _shades(anchors: Sequence[str], short: int, long: int) -> Array:
    """(short, long, 3) uint8: the ramp along one side, darker and lighter along the other."""
    places = np.array([ALONE])
    if long > 1:
        places = np.linspace(0, 1, long)
    shift = np.zeros(1)
    if short > 1:
        shift = np.linspace(-DARK, LIGHT, short)
    hues = _ramp(anchors, places)  # (long, 3)
    # Each row of shades is mixed with black where its shift is negative, and else with white.
    shift = shift[:, None, None]  # (short, 1, 1)
    target = np.where(shift > 0, 255.0, 0.0)
    amount = np.abs(shift)
    mixed = hues * (1 - amount) + target * amount  # (short, long, 3)
    return mixed.round().astype(np.uint8)


def paler(colours: Array, amount: float) -> Array:
    """Colours moved towards white."""
    mixed = colours * (1 - amount) + 255 * amount
    return mixed.round().astype(np.uint8)


def to_hex(colour: Array) -> str:
    """`#rrggbb` of (3,) uint8."""
    return "#" + colour.tobytes().hex()


def _ramp(anchors: Sequence[str], places: Array) -> Array:
    """(n, 3) colours at places 0 to 1 between the anchors."""
    known = np.stack([rgb(anchor) for anchor in anchors])  # (anchors, 3)
    at = np.linspace(0, 1, len(anchors))
    channels = []
    # Red, green and blue are mixed one by one, each along the whole ramp.
    for channel in known.astype(float).T:
        channels.append(np.interp(places, at, channel))
    return np.stack(channels, axis=1)
