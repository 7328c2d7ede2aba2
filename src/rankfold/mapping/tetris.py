"""Tetris-SDK: margins and left-over input channels have windows of their own (Dong et al., 2024)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rankfold.mapping.cover import Cover, Rectangle
from rankfold.mapping.diagonal_blocks import CHANNELS
from rankfold.mapping.region import Region
from rankfold.mapping.whole import WholeChannels
from rankfold.mapping.windows import NEVER, Block
from rankfold.workload.shape import Pair

Array = np.ndarray


@dataclass(eq=False)
class TetrisSearch:
    """The cheapest main window, margins and left-over channels with VW-SDK's tiles.

    The main window a x b fills floor(OH/a) x floor(OW/b) positions; the rows below, across the whole plane,
    and the columns to the right, beside the main part, are each covered with one window of their own. The
    channels that do not fill a row tile of IC_t, C_in mod IC_t, may be a block of their own with a main
    window and margins of its own. All main windows are searched for each block, where the published code
    changes the one window that VW-SDK found.
    """

    whole: WholeChannels
    _tiles: dict[Block, Array] = field(default_factory=dict)
    _covers: dict[Block, Cover] = field(default_factory=dict)

    def solve(self) -> tuple[int, list[Region]]:
        """Cycles and regions. The list of windows must not be empty."""
        windows = self.whole.windows
        every = Block.whole(windows.footprint)
        blocks = [every]
        cycles = self.cover(every).cycles
        for first, second in self._cuts(every):
            bound = self._bound(first) + self._bound(second)
            if bound >= cycles:
                continue
            both = self.cover(first).cycles
            both += self.cover(second).cycles
            if both < cycles:
                cycles = both
                blocks = [first, second]
        regions = []
        for block in blocks:
            regions += self.cover(block).regions(
                windows,
                block,
                CHANNELS,
            )
        return cycles, regions

    def cover(self, block: Block) -> Cover:
        """The main part and the margins for a block of channels."""
        if block not in self._covers:
            self._covers[block] = self._search(block)
        return self._covers[block]

    def _cuts(self, every: Block) -> list[tuple[Block, Block]]:
        """The input channels cut in two, the first of which fill row tiles of some window."""
        footprint = self.whole.windows.footprint
        if footprint.shape.groups > 1 or footprint.mask is not None:
            return []
        _, channels = every.channels
        per_tile = self.whole.channels_per_tile
        filling = set((channels // per_tile * per_tile).tolist())  # channels that whole row tiles hold
        cuts = []
        for cut in sorted(filling):
            if 0 < cut < channels:
                first = Block((0, cut), every.outputs)
                second = Block((cut, channels), every.outputs)
                cuts.append((first, second))
        return cuts

    def _search(self, block: Block) -> Cover:
        """The best main window and margins of a block of channels."""
        windows = self.whole.windows
        size = windows.output
        height, width = size
        tiles = self._tiles_of(block)  # (W,)
        margins = _Margins(self.whole, tiles)
        down = height // windows.a
        right = width // windows.b
        positions = down * right
        main = positions * tiles
        # No margin can cost less a pixel than the best window does.
        in_main = positions * windows.pixels
        in_margins = height * width - in_main
        cheapest = (tiles / windows.pixels).min()
        least = np.ceil(in_margins * cheapest - 1e-9)
        bound = main + least.astype(int)
        best = NEVER
        chosen = 0
        for index in np.argsort(bound, kind="stable").tolist():
            # Windows come in the order of their bounds: none of those that follow can be better either.
            if bound[index] >= best:
                break
            below, beside = _margins_of(size, windows.window(index))
            cycles = int(main[index])
            cycles += margins.cycles(below)
            cycles += margins.cycles(beside)
            if cycles < best:
                best = cycles
                chosen = index
        rectangles = _rectangles(size, windows.window(chosen), margins)
        return Cover(best, tuple(rectangles))

    def _tiles_of(self, block: Block) -> Array:
        if block not in self._tiles:
            self._tiles[block] = self.whole.tiles(block)
        return self._tiles[block]

    def _bound(self, block: Block) -> float:
        """Cycles at least of a block: what its best window costs a pixel, times all pixels."""
        windows = self.whole.windows
        height, width = windows.output
        cheapest = (self._tiles_of(block) / windows.pixels).min()
        return float(height * width * cheapest - 1e-6)


def _rectangles(
    size: Pair,
    window: Pair,
    margins: _Margins,
) -> list[Rectangle]:
    """The main part of the plane, and the margins that are not empty."""
    below, beside = _margins_of(size, window)
    height = size[0] - below[0]
    width = size[1] - beside[1]
    rectangles = [Rectangle((0, 0), (height, width), window)]
    if min(below):
        rectangle = Rectangle((height, 0), below, margins.window(below))
        rectangles.append(rectangle)
    if min(beside):
        rectangle = Rectangle((0, width), beside, margins.window(beside))
        rectangles.append(rectangle)
    return rectangles


def _margins_of(size: Pair, window: Pair) -> tuple[Pair, Pair]:
    """(height, width) of the margins below the main windows, across the plane, and to the right of them."""
    height, width = size
    below = height % window[0]
    beside = width % window[1]
    return (below, width), (height - below, beside)


@dataclass(eq=False)
class _Margins:
    """The window that covers a margin best on its own, found once for each size.

    Attributes:
        whole: W windows.
        tiles: (W,) their tiles.
    """

    whole: WholeChannels
    tiles: Array
    _best: dict[Pair, Pair] = field(default_factory=dict)  # size: cycles, index of the window

    def cycles(self, size: Pair) -> int:
        """Cycles of a margin of this (height, width); none of an empty one."""
        if min(size) == 0:
            return 0
        cycles, _ = self._of(size)
        return cycles

    def window(self, size: Pair) -> Pair:
        """Its window."""
        _, index = self._of(size)
        return self.whole.windows.window(index)

    def _of(self, size: Pair) -> Pair:
        if size not in self._best:
            self._best[size] = self._search(size)
        return self._best[size]

    def _search(self, size: Pair) -> Pair:
        windows = self.whole.windows
        height, width = size
        fits = (windows.a <= height) & (windows.b <= width)
        cycles = windows.count(height, width) * self.tiles
        index = int(np.where(fits, cycles, NEVER).argmin())
        return int(cycles[index]), index
