"""The words of a picture: captions with a mapping's numbers, and how to read the picture."""

from __future__ import annotations

from rankfold.mapping import LowRankMapping, Mapping
from rankfold.workload.shape import ConvShape, Pair

METHOD_NAMES = {"im2col": "im2col", "sdk": "SDK", "vw-sdk": "VW-SDK", "tetris-sdk": "Tetris-SDK", "best": "best"}
MEANINGS = {
    "im2col": "one output pixel per cycle",
    "sdk": "shifted and duplicated kernel: copies of the kernel fill idle columns",
    "vw-sdk": "windows of any shape, whole channels in each array",
    "tetris-sdk": "windows of their own for margins and left-over channels",
    "best": "the fewest cycles a search over windows and cuts has found",
}


def size(pair: Pair) -> str:
    """`3x4`."""
    return f"{pair[0]}x{pair[1]}"


def caption(mapping: Mapping) -> list[str]:
    """The numbers of a mapping, a phrase each: window, arrays, cycles, utilisation, cycles over the lower bound."""
    arrays, outputs = mapping.tile_count, mapping.window[0] * mapping.window[1]
    return [
        f"window {size(mapping.window)}: {outputs:,} pixel{'s' if outputs > 1 else ''} at once",
        f"{arrays:,} array{'s' if arrays > 1 else ''}",
        f"{mapping.cycles:,} cycles",
        f"utilisation {mapping.utilisation:.1%}",
        f"{mapping.over_bound:.2f} × lower bound",
    ]


def other_windows(mapping: Mapping, most: int = 3) -> str:
    """The windows of further regions in words, or nothing."""
    first = mapping.regions[0]
    told: list[str] = []
    for region in mapping.regions[1:]:
        start, stop = region.block.channels
        where = f"on {size(region.size)} pixels" if region.block == first.block else f"for channels {start + 1}–{stop}"
        if (region.window, region.block) != (first.window, first.block):
            told.append(f"{size(region.window)} {where}")
    told = list(dict.fromkeys(told))
    if len(told) > most:
        told[most:] = [f"{len(told) - most} more"]
    return "other windows: " + ", ".join(told) if told else ""


def layer_in_words(shape: ConvShape) -> str:
    """`3x3 convolution, 16 to 16 channels, ...`."""
    if shape.kind == "linear":
        return f"fully connected layer, {shape.in_channels} → {shape.out_channels}"
    kind = "depthwise convolution" if shape.groups == shape.in_channels > 1 else "convolution"
    words = f"{size(shape.kernel)} {kind}, {shape.in_channels} → {shape.out_channels} channels"
    if shape.groups > 1 and shape.groups != shape.in_channels:
        words += f" in {shape.groups} groups"
    if shape.stride != (1, 1):
        words += f", stride {size(shape.stride)}"
    if shape.dilation != (1, 1):
        words += f", dilation {size(shape.dilation)}"
    return f"{words}, {size(shape.input)} → {size(shape.output)} pixels"


def pair_caption(pair: LowRankMapping) -> str:
    """The total of both stages."""
    macs = pair.stage1.macs + pair.stage2.macs
    return f"{pair.cycles:,} cycles in all, utilisation {macs / (pair.array.cells * pair.cycles):.1%}"
