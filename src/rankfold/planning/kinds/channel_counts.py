"""How many channels to leave between two layers: numbers that save tiles of either."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from rankfold.mapping import map_layer
from rankfold.mapping.window_matrix import fewest_cycles, pixels_in_a_row, window_cycles, window_shape
from rankfold.plan import WindowLayer
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.kinds.kind import single_pixel
from rankfold.planning.kinds.study import PIXEL
from rankfold.planning.kinds.window import LARGEST_WINDOW, candidate_windows
from rankfold.workload import ConvShape
from rankfold.workload.shape import Pair

FEWEST = 2  # part of the channels, one half, below which no number is offered
STEP = 0.75  # of the cycles of a number of channels, which the next smaller one has to stay below
MOST = 2  # numbers that are offered for each of the two layers
EIGHTHS = (7, 6, 5, 4)  # of the channels, that are offered where a depthwise convolution has them, too


def channel_counts(given: LayerSlot, read: LayerSlot) -> tuple[int, ...]:
    """Numbers of channels, falling, that save cycles.

    Of the layer that gives them: as many as leave room for more pixels in the columns, N m' <= C, or, where
    one pixel fills them, whole column tiles. Of the layer that reads them: as many as whole row tiles hold,
    m' kh kw <= k R; unless it may have windows, which choose as many rows of all channels for as many cycles.

    Args:
        given: the layer that gives them.
        read: the one that reads them.
    """
    counts = set(_saving(_of_columns(given), given.shape.m, partial(_cycles_given, given)))
    if read.kinds is not None and WindowLayer.name not in read.kinds:
        counts.update(_saving(_of_rows(read), given.shape.m, partial(_cycles_read, read)))
    return tuple(sorted(counts, reverse=True))


def counts_between(channels: int) -> tuple[int, ...]:
    """Numbers of channels, falling, where depthwise convolutions stand between both layers: each channel less
    saves cycles there, whatever it saves in tiles of the others.
    """
    return tuple(sorted({channels * eighths // 8 for eighths in EIGHTHS} - {0, channels}, reverse=True))


def _of_columns(slot: LayerSlot) -> Iterator[int]:
    columns, pixels = slot.array.columns, pixels_in_a_row(slot.shape, slot.array)
    if pixels:
        return (columns // more for more in range(pixels + 1, FEWEST * pixels + 1))
    return reversed(range(columns, slot.shape.m, columns))


def _of_rows(slot: LayerSlot) -> Iterator[int]:
    positions, rows = slot.shape.kernel[0] * slot.shape.kernel[1], slot.array.rows
    return (tiles * rows // positions for tiles in range(slot.shape.n // rows, 0, -1))


def _cycles_given(slot: LayerSlot, count: int) -> int:
    """Of windows of one row tile."""
    window = given_window(slot, count) or PIXEL
    return window_cycles(_smaller(slot.shape, count), window, slot.array, slot.array.rows)


def _cycles_read(slot: LayerSlot, count: int) -> int:
    """Of the convolution."""
    return map_layer(replace(slot.shape, in_channels=count), slot.array, "best").cycles


def given_window(slot: LayerSlot, count: int) -> Pair | None:
    """The window (a, b) by which a layer of so many outputs needs the fewest cycles; None: there is none."""
    shape, array = _smaller(slot.shape, count), slot.array
    pixels = pixels_in_a_row(shape, array)
    if pixels <= pixels_in_a_row(slot.shape, array):
        return largest_window(slot)

    def cycles(run: ConvShape, window: Pair) -> int:
        return window_cycles(run, window, array, array.rows)

    window = fewest_cycles([shape], pixels, cycles)
    if window == PIXEL or window_shape(shape, window).n > LARGEST_WINDOW:
        return largest_window(slot)
    return window


def largest_window(slot: LayerSlot) -> Pair | None:
    """The largest window of a layer of all its outputs, or a single pixel; None: there is neither."""
    return next(iter((*candidate_windows(slot), *single_pixel(slot))), None)


def _saving(counts: Iterator[int], channels: int, cycles: Callable[[int], int]) -> Iterator[int]:
    """Those of some falling numbers that each save a quarter of the cycles of the last one; not too many."""
    least, found = cycles(channels), 0
    for count in counts:
        if not channels <= FEWEST * count < FEWEST * channels or found == MOST:
            continue
        needed = cycles(count)
        if needed < STEP * least:
            yield count
            least, found = needed, found + 1


def _smaller(shape: ConvShape, count: int) -> ConvShape:
    return replace(shape, out_channels=count)
