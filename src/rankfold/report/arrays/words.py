"""The words of a picture: captions with a mapping's numbers, and how to read the picture."""

from __future__ import annotations

from rankfold.cost.kinds import AnyMapping
from rankfold.mapping import Mapping, Region
from rankfold.report.numbers import plural
from rankfold.workload.shape import ConvShape, Pair

# By the mapping's name in plans.
METHOD_NAMES = {
    "im2col": "im2col",
    "sdk": "SDK",
    "vw-sdk": "VW-SDK",
    "tetris-sdk": "Tetris-SDK",
    "best": "best",
}
MEANINGS = {
    "im2col": "one output pixel per cycle",
    "sdk": "shifted and duplicated kernel: copies of the kernel fill idle columns",
    "vw-sdk": "windows of any shape, whole channels in each array",
    "tetris-sdk": "windows of their own for margins and left-over channels",
    "best": "the fewest cycles a search over windows and cuts has found",
}


def method_words(mapping: str) -> tuple[str, str]:
    """A mapping's name for people, and what it means."""
    if mapping in METHOD_NAMES:
        return METHOD_NAMES[mapping], MEANINGS[mapping]
    return f"windows {mapping}", "windows of one size on the whole plane"


def size(pair: Pair) -> str:
    """`3x4`."""
    height, width = pair
    return f"{height}x{width}"


def caption(mapping: Mapping) -> list[str]:
    """The numbers of a mapping, a phrase each: window, arrays, cycles, utilisation, nearness to the bound."""
    height, width = mapping.window
    outputs = height * width
    arrays = mapping.tile_count
    return [
        f"window {size(mapping.window)}: {outputs:,} {plural('pixel', outputs)} at once",
        f"{arrays:,} {plural('array', arrays)}",
        f"{mapping.cycles:,} cycles",
        f"utilisation {mapping.utilisation:.1%}",
        f"{mapping.over_bound:.2f} × lower bound",
    ]


def other_windows(mapping: Mapping, most: int = 3) -> str:
    """The windows of further regions in words, or nothing."""
    first, *others = mapping.regions
    told: dict[str, None] = {}  # in order, each once
    for region in others:
        if (region.window, region.block) != (first.window, first.block):
            told[f"{size(region.window)} {_where(region, first)}"] = None
    words = list(told)
    if not words:
        return ""
    if len(words) > most:
        # A search may find dozens of them.
        words[most:] = [f"{len(words) - most} more"]
    return "other windows: " + ", ".join(words)


def _where(region: Region, first: Region) -> str:
    """What a region covers that the first one does not: pixels, or channels."""
    if region.block == first.block:
        return f"on {size(region.size)} pixels"
    start, stop = region.block.channels
    return f"for channels {start + 1}–{stop}"


def layer_in_words(shape: ConvShape) -> str:
    """`3x3 convolution, 16 to 16 channels, ...`."""
    channels = f"{shape.in_channels} → {shape.out_channels}"
    if shape.is_linear:
        return f"fully connected layer, {channels}"
    # One group for each channel has a name of its own.
    depthwise = shape.groups == shape.in_channels > 1
    kind = "convolution"
    if depthwise:
        kind = "depthwise convolution"
    words = f"{size(shape.kernel)} {kind}, {channels} channels"
    if shape.groups > 1 and not depthwise:
        words += f" in {shape.groups} groups"
    if shape.stride != (1, 1):
        words += f", stride {size(shape.stride)}"
    if shape.dilation != (1, 1):
        words += f", dilation {size(shape.dilation)}"
    return f"{words}, {size(shape.input)} → {size(shape.output)} pixels"


def pair_caption(pair: AnyMapping) -> str:
    """The total of all stages."""
    macs = sum(stage.macs for stage in pair.stages)
    # What all cells could do in these cycles, one multiplication each.
    possible = pair.array.cells * pair.cycles
    utilisation = macs / possible
    return f"{pair.cycles:,} cycles in all, utilisation {utilisation:.1%}"
