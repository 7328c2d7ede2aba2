"""Sets of channels as plans have them: a hexadecimal number whose lowest bit is the first channel."""

from __future__ import annotations

import numpy as np

CHANNELS = "[0-9a-f]+"


def channels_to_text(there: np.ndarray) -> str:
    """The set of those channels of (C,) booleans that are there."""
    return f"{sum(1 << int(channel) for channel in np.flatnonzero(there)):x}"


def text_to_channels(text: str | None, count: int) -> np.ndarray:
    """(count,) booleans: the channels of a set that has none beyond them; all where it is None."""
    if text is None:
        return np.ones(count, bool)
    return np.array([int(bit) for bit in reversed(f"{int(text, 16):0{count}b}")], bool)


def shortest_text(text: str) -> str:
    """The one text of a set, without leading zeros."""
    return f"{int(text, 16):x}"


def channels_in(text: str) -> int:
    """How many channels a set has."""
    return int(text, 16).bit_count()


def reaches_beyond(text: str, count: int) -> bool:
    """Whether a set has channels beyond the first so many."""
    return bool(int(text, 16) >> count)
