"""Tetris-SDK: windows of their own for the plane's margins and for the left-over input channels (Dong et al., 2024)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rankfold.mapping.region import Region
from rankfold.mapping.stored import CHANNELS
from rankfold.mapping.strips import ceil
from rankfold.mapping.whole import WholeChannels
from rankfold.mapping.windows import Block
from rankfold.workload.shape import Pair

Array = np.ndarray
Rectangle = tuple[Pair, Pair, Pair]  # origin, size, window


@dataclass(eq=False)
class TetrisSearch:
    """The cheapest main window, margins and left-over channels with VW-SDK's tiles.

    The main window a x b fills floor(OH/a) x floor(OW/b) positions; the rows below, across the whole plane, and the columns
    to the right, beside the main part, are each covered with one window of their own. The channels that do not fill a row
    tile of IC_t, C_in mod IC_t, may be a block of their own with a main window and margins of its own. All main windows are
    searched for each block, where the published code changes the one window that VW-SDK found.
    """

    whole: WholeChannels
    _tiles: dict[Block, Array] = field(default_factory=dict)
    _planes: dict[Block, tuple[int, list[Rectangle]]] = field(default_factory=dict)

    def solve(self) -> tuple[int, list[Region]]:
        """Cycles and regions. The list of windows must not be empty."""
        windows = self.whole.windows
        every = Block.whole(windows.footprint)
        blocks = [every]
        cycles = self.plane(every)[0]
        channels = every.channels[1]
        if windows.footprint.shape.groups == 1 and windows.footprint.mask is None:
            per_tile = self.whole.channels_per_tile
            cuts = np.unique(channels // per_tile * per_tile)
            for cut in cuts[(cuts > 0) & (cuts < channels)].tolist():
                pair = [Block((0, cut), every.outputs), Block((cut, channels), every.outputs)]
                if sum(self._bound(block) for block in pair) < cycles:
                    found = sum(self.plane(block)[0] for block in pair)
                    if found < cycles:
                        cycles, blocks = found, pair
        regions = [
            Region(windows.footprint, windows.array, block, origin, size, window, CHANNELS)
            for block in blocks
            for origin, size, window in self.plane(block)[1]
        ]
        return cycles, regions

    def plane(self, block: Block) -> tuple[int, list[Rectangle]]:
        """Cycles of a block of channels on the plane, and the main part and margins."""
        if block not in self._planes:
            self._planes[block] = self._search(block)
        return self._planes[block]

    def _search(self, block: Block) -> tuple[int, list[Rectangle]]:
        windows = self.whole.windows
        height, width = windows.footprint.shape.output
        tiles = self._tiles_of(block)
        main = (height // windows.a) * (width // windows.b) * tiles
        # No margin can cost less a pixel than the best window does.
        covered = (height // windows.a) * windows.a * (width // windows.b) * windows.b
        bound = main + np.ceil((height * width - covered) * (tiles / windows.pixels).min() - 1e-9).astype(int)
        margins: dict[Pair, tuple[int, int]] = {}
        best, found = -1, (0, (0, 0), (0, 0))
        for index in np.argsort(bound, kind="stable").tolist():
            if best >= 0 and bound[index] >= best:
                break
            a, b = int(windows.a[index]), int(windows.b[index])
            below, right = (height % a, width), (height - height % a, width % b)
            cycles = int(main[index])
            for strip in (below, right):
                if min(strip) and strip not in margins:
                    margins[strip] = self._cover(tiles, strip)
                cycles += margins[strip][0] if min(strip) else 0
            if best < 0 or cycles < best:
                best, found = cycles, (index, below, right)
        index, below, right = found
        inside = right[0], width - right[1]
        rectangles: list[Rectangle] = [((0, 0), inside, self._window(index))]
        if min(below):
            rectangles.append(((right[0], 0), below, self._window(margins[below][1])))
        if min(right):
            rectangles.append(((0, inside[1]), right, self._window(margins[right][1])))
        return best, rectangles

    def _cover(self, tiles: Array, size: Pair) -> tuple[int, int]:
        """Cycles and index of the window that covers a rectangle best on its own."""
        windows = self.whole.windows
        cycles = ceil(size[0], windows.a) * ceil(size[1], windows.b) * tiles
        fits = (windows.a <= size[0]) & (windows.b <= size[1])
        index = int(np.where(fits, cycles, np.iinfo(int).max).argmin())
        return int(cycles[index]), index

    def _tiles_of(self, block: Block) -> Array:
        if block not in self._tiles:
            self._tiles[block] = self.whole.tiles(block)
        return self._tiles[block]

    def _bound(self, block: Block) -> float:
        windows = self.whole.windows
        height, width = windows.footprint.shape.output
        return float(height * width * (self._tiles_of(block) / windows.pixels).min() - 1e-6)

    def _window(self, index: int) -> Pair:
        return int(self.whole.windows.a[index]), int(self.whole.windows.b[index])
