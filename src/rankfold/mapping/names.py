"""Names of mappings: those of methods, and those that say a window for each stored matrix, such as `4x8`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rankfold.workload.shape import Pair

# Of one window, and of the windows of several stored matrices, such as `4x8+2x2` of a low-rank pair.
WINDOW = "[1-9][0-9]{0,5}x[1-9][0-9]{0,5}"
PATTERN = rf"{WINDOW}(\+{WINDOW})*"
SEPARATOR = "+"


def windows_named(mapping: str) -> tuple[Pair, ...]:
    """The windows (a, b) that a mapping's name says, one for each stored matrix; none: it names a method."""
    if re.fullmatch(PATTERN, mapping) is None:
        return ()
    windows = []
    for text in mapping.split(SEPARATOR):
        a, b = text.split("x")
        windows.append((int(a), int(b)))
    return tuple(windows)


def window_name(windows: Sequence[Pair]) -> str:
    """The name of the mapping that has these windows, one for each stored matrix."""
    return SEPARATOR.join(f"{a}x{b}" for a, b in windows)


def fitted_window(window: Pair, output: Pair, columns: int) -> Pair:
    """As much of a window as there is room for: within the output plane, and a column for each pixel.

    So the name of a window means something on every array, and on every plane that a weight runs on.

    Args:
        window: (a, b) output pixels.
        output: (OH, OW) of the plane.
        columns: of the array, in weights.
    """
    a = min(window[0], output[0], columns)
    b = min(window[1], output[1], columns // a)
    return a, b
