"""Numbers as pages write them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

# A number and its unit stay on one line.
GAP = "\u00a0"
# For what is not known.
DASH = "–"
# Of the weights; so many of one width name a network's bits.
NEARLY_ALL = 0.8


def percent(value: float | None, digits: int = 2) -> str:
    """A share as `90.91 %`, None as a dash."""
    if value is None:
        return DASH
    return f"{100 * value:.{digits}f}{GAP}%"


def count(value: int | None) -> str:
    """A number as `12,345`, None as a dash."""
    if value is None:
        return DASH
    return f"{value:,}"


def size(values: Sequence[int] | None) -> str:
    """Sizes as `64×64`, None as a dash."""
    if values is None:
        return DASH
    return "×".join(str(value) for value in values)


def points(after: float, before: float) -> str:
    """The difference of two accuracies in percentage points, with its sign."""
    difference = f"{100 * (after - before):+.2f}"
    return difference.replace("-", "−")


def times(ratio: float) -> str:
    """A ratio as `2.6×`, or `1.03×` where one digit would hide it."""
    digits = 1
    if ratio < 1.1:
        digits = 2
    return f"{ratio:.{digits}f}×"


def less(saving: float) -> str:
    """A saving as `25 % less`, or `3 % more`."""
    words = "less"
    if saving < 0:
        words = "more"
    return f"{100 * abs(saving):.0f}{GAP}% {words}"


def nanojoules(picojoules: float) -> float:
    """Energy in nJ, which records and candidates hold in pJ."""
    return 1e-3 * picojoules


def precision_in_words(layers: Iterable[tuple[int | None, int]]) -> str:
    """`at 4 bits`, the width of nearly all weights; `in float`; or `at mixed precision`.

    Args:
        layers: the bits, None for float, and the number of weights of each layer.
    """
    weights: Counter[int | None] = Counter()
    for bits, amount in layers:
        weights[bits] += amount
    width, most = max(weights.items(), key=lambda item: item[1], default=(None, 0))
    # The first convolution and the classifier, which often have more bits, are few of all weights.
    if most < NEARLY_ALL * sum(weights.values()):
        return "at mixed precision"
    if width is None:
        return "in float"
    return f"at {width}{GAP}bits"


def plural(noun: str, amount: int) -> str:
    """`layer`, or `layers` of any number but one."""
    if amount == 1:
        return noun
    return f"{noun}s"
