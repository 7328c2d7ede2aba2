"""How the diagonal blocks of a window's matrix are cut into tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rankfold.mapping.diagonal_blocks import CHANNELS, DiagonalBlocks
from rankfold.mapping.outline import Cut, Diagonal, EvenCuts, Grid, Outline
from rankfold.mapping.overflow import Overflow
from rankfold.mapping.whole import WholeChannels
from rankfold.mapping.windows import Windows


def cut_into_tiles(blocks: DiagonalBlocks) -> Iterator[Outline]:
    """Which lines of which diagonal block meet which columns, in which tile."""
    if blocks.overflow is not None:
        yield from _of_overflow(blocks, blocks.overflow)
    elif blocks.layout == CHANNELS:
        yield from _by_channels(blocks)
    else:
        yield from _by_elements(blocks)


def _by_elements(blocks: DiagonalBlocks) -> Iterator[Outline]:
    """Tiles cut at any element, in the cheaper of the two layouts of `Windows.layouts`."""
    rows, columns = blocks.array.rows, blocks.array.columns
    width = blocks.width
    every = np.arange(blocks.pixels)
    heights = blocks.heights(blocks.pixels)
    if len(heights) > 1:
        windows = Windows.single(
            blocks.footprint,
            blocks.array,
            blocks.window,
        )
        by_rows, by_columns = windows.layouts(blocks.block)
        if by_columns[0] < by_rows[0]:
            yield Diagonal(
                every,
                heights,
                (0, width),
                columns,
                rows // max(heights),
                sideways=True,
            )
            return
    chunked = width // columns * columns  # columns in whole chunks
    if chunked:
        chunks = EvenCuts(0, chunked, columns)
        for alike, height in _alike(heights):
            lines = EvenCuts(0, height, rows)
            yield Grid(every, alike, lines, chunks)
    if chunked < width:
        # The last chunk needs only the lines that its own pixels read.
        pixels = np.arange(chunked, width) % blocks.pixels
        # Columns walk through the pixels in turn, so that the first N0 have each of them once.
        last = np.sort(pixels[: blocks.pixels])
        yield Diagonal(
            last,
            blocks.heights(len(last)),
            (chunked, width),
            rows,
            columns // (width - chunked),
        )


def _by_channels(blocks: DiagonalBlocks) -> Iterator[Outline]:
    """Tiles of whole input and output channels, or of whole groups where these fit."""
    counter = WholeChannels.single(
        blocks.footprint,
        blocks.array,
        blocks.window,
    )
    every = np.arange(blocks.pixels)
    heights = blocks.heights(blocks.pixels)
    width = blocks.width
    # Whole groups that fit side by side share an array.
    together = int(counter.groups_per_tile(blocks.block)[0])
    if together:
        yield Diagonal(
            every,
            heights,
            (0, width),
            width * together,
            together,
            sideways=True,
        )
        return
    outputs = int(counter.outputs_per_tile[0])
    columns = EvenCuts(0, width, outputs * blocks.pixels)
    if blocks.footprint.mask is None:
        channels = int(counter.channels_per_tile[0])
        inputs = int(counter.inputs[0, 0])
        lines = EvenCuts(0, heights[0], channels * inputs)
        yield Grid(
            every,
            range(len(heights)),
            lines,
            columns,
        )
        return
    for index, group in enumerate(blocks.used_groups.tolist()):
        cuts = _channel_cuts(blocks, counter, group)
        yield Grid(
            every,
            range(index, index + 1),
            cuts,
            columns,
        )


def _channel_cuts(blocks: DiagonalBlocks, counter: WholeChannels, group: int) -> tuple[Cut, ...]:
    """The lines of each row tile of a group whose channels differ."""
    start, stop = blocks.block.channels
    patterns = blocks.footprint.pattern_of[group, start:stop]
    inputs = counter.inputs[patterns, 0]
    above = [0, *np.cumsum(inputs).tolist()]  # lines before each channel
    cuts = []
    for first, last in counter.runs(blocks.block, group, 0):
        first_line = above[first - start]
        last_line = above[last - start]
        cuts.append((first_line, last_line))
    return tuple(cuts)


def _of_overflow(blocks: DiagonalBlocks, overflow: Overflow) -> Iterator[Outline]:
    """The full arrays of one window, or the array that several windows share."""
    width = blocks.width
    every = np.arange(blocks.pixels)
    if overflow.slots == 1:
        rows = EvenCuts(
            overflow.start,
            overflow.stop,
            blocks.array.rows,
        )
        columns = EvenCuts(0, width, blocks.array.columns)
        yield Grid(every, range(1), rows, columns)
        return
    height = overflow.stop - overflow.start
    yield Diagonal(
        every,
        [height] * overflow.slots,
        (0, width),
        height * overflow.slots,
        overflow.slots,
        start=overflow.start,
    )


def _alike(heights: Sequence[int]) -> list[tuple[range, int]]:
    """Blocks that can be cut together, and their height: all, or one by one where their heights differ."""
    if min(heights) == max(heights):
        return [(range(len(heights)), heights[0])]
    one_by_one = []
    for block, height in enumerate(heights):
        one_by_one.append((range(block, block + 1), height))
    return one_by_one
