"""The channels of each block of a grouped layer, as plans have them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from rankfold.errors import InputError
from rankfold.lowrank.grouping import Grouping
from rankfold.plan.channels import CHANNELS, channels_to_text, reaches_beyond, shortest_text, text_to_channels
from rankfold.workload import ConvShape

BLOCK = f"{CHANNELS}:{CHANNELS}"
PATTERN = f"^{BLOCK}( {BLOCK})*$"
# JSON Schema searches, so that it needs the anchors; `fullmatch` does not.
WORDS = re.compile(PATTERN[1:-1])


def members_to_text(grouping: Grouping) -> str:
    """Input and output channels of each block, as two hexadecimal numbers with a colon between them.

    The lowest bit is the first channel: `5:c` is a block of input channels 0 and 2, outputs 2 and 3.
    """
    words = []
    for block in range(int(grouping.inputs.max()) + 1):
        sides = (channels_to_text(channels == block) for channels in (grouping.inputs, grouping.outputs))
        words.append(":".join(sides))
    return " ".join(words)


def text_to_members(text: str, shape: ConvShape, blocks: int) -> Grouping:
    """Read what `members_to_text` wrote.

    Args:
        text: it.
        shape: the layer, as it was.
        blocks: in each of its groups.

    Raises:
        InputError: it is no such text, or does not cut the channels of each group into so many equal blocks.
    """
    check_members_words(text)
    words = [word.split(":") for word in text.split(" ")]
    if len(words) != blocks * shape.groups:
        raise InputError(
            f"layer {shape.name}: members are those of {len(words)} blocks, and the layer has "
            f"{blocks * shape.groups}; give one INPUTS:OUTPUTS for each"
        )
    sides = []
    for side, channels, what in ((0, shape.in_channels, "input"), (1, shape.m, "output")):
        sets = [word[side] for word in words]
        sides.append(_blocks_of(sets, channels, shape, f"{what} channels"))
    return Grouping(*sides)


def _blocks_of(sets: Sequence[str], channels: int, shape: ConvShape, what: str) -> np.ndarray:
    """(channels,) the block of each."""
    if not any(reaches_beyond(text, channels) for text in sets):
        there = np.stack([text_to_channels(text, channels) for text in sets])  # (blocks, channels)
        block: np.ndarray = there.argmax(axis=0)
        # Blocks of one group of the convolution follow each other.
        own = np.arange(channels) * shape.groups // channels
        within = np.all(block * shape.groups // len(there) == own)
        alike = np.all(there.sum(axis=1) == channels // len(there))
        if within and alike and np.all(there.sum(axis=0) == 1):
            return block
    raise InputError(
        f"layer {shape.name}: its members must have each of its {channels} {what} once, as many in each "
        "block, and no block may have channels of two groups"
    )


def shortest_members(text: str) -> str:
    """The same members without leading zeros.

    Raises:
        InputError: see `check_members_words`.
    """
    check_members_words(text)
    return " ".join(":".join(map(shortest_text, word.split(":"))) for word in text.split(" "))


def check_members_words(text: str) -> None:
    """Refuse a text that has the members of no layer.

    Raises:
        InputError: it is not made of pairs of hexadecimal numbers.
    """
    if not WORDS.fullmatch(text):
        raise InputError(
            "members must be two hexadecimal numbers for each block, input and output channels, such as "
            "`3:3 c:c`"
        )
