"""`best`: any windows on any guillotine cut of the plane, and one cut through the channels, searched exactly."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rankfold.mapping.plane import Plane
from rankfold.mapping.region import Region
from rankfold.mapping.strips import ceil
from rankfold.mapping.windows import NEVER, Block, Windows
from rankfold.workload.shape import Pair

Array = np.ndarray
Rectangle = tuple[Pair, Pair, Pair]  # origin, size, window


@dataclass(eq=False)
class BestSearch:
    """The fewest cycles over the space that docs/mapping.md defines.

    Attributes:
        windows: the windows that may be used.
        enough: cycles that cannot be beaten; the search stops when it gets there.
    """

    windows: Windows
    enough: int
    _planes: dict[Block, tuple[int, list[Rectangle]]] = field(default_factory=dict)

    def solve(self) -> tuple[int, list[Region]]:
        """Cycles and regions."""
        footprint, array = self.windows.footprint, self.windows.array
        every = Block.whole(footprint)
        blocks: tuple[Block, ...] = (every,)
        cycles = self.plane(every)[0]
        for bounds, pair in self._cuts(every, cycles):
            if sum(bounds) >= cycles or cycles <= self.enough:
                break
            found = self.plane(pair[0])[0]
            if found + bounds[1] < cycles:
                found += self.plane(pair[1])[0]
                if found < cycles:
                    cycles, blocks = found, pair
        return cycles, [
            Region(footprint, array, block, origin, size, window)
            for block in blocks
            for origin, size, window in self.plane(block)[1]
        ]

    def plane(self, block: Block) -> tuple[int, list[Rectangle]]:
        """Cycles of a block of channels on the whole plane, and the rectangles of equal windows it is cut into."""
        if block not in self._planes:
            self._planes[block] = self._search(block)
        return self._planes[block]

    def _search(self, block: Block) -> tuple[int, list[Rectangle]]:
        windows = self.windows
        size = windows.footprint.shape.output
        tiles = windows.tiles(block)
        one_window = windows.count(*size) * tiles
        index = int(one_window.argmin())
        cycles = int(one_window[index])
        alone: list[Rectangle] = [((0, 0), size, (int(windows.a[index]), int(windows.b[index])))]
        # No cutting costs less a pixel than the best window does. One window for all needs the fewest stored tiles.
        if cycles <= int(ceil(size[0] * size[1] * tiles, windows.pixels).min()):
            return cycles, alone
        cut, rectangles = Plane.of(size, windows.a, windows.b, tiles).solve()
        return (cut, rectangles) if cut < cycles else (cycles, alone)

    def _cuts(self, every: Block, cycles: int) -> list[tuple[Pair, tuple[Block, Block]]]:
        """Cuts through the input or the output channels that could save cycles, with what both parts cost at least, in order.

        Convolutions with groups are cut into blocks as it is, and are not cut again.
        """
        if self.windows.footprint.shape.groups > 1 or cycles <= self.enough:
            return []
        windows, array = self.windows, self.windows.array
        height, width = windows.footprint.shape.output
        channels, outputs = every.channels[1], every.outputs[1]
        found: list[tuple[Pair, tuple[Block, Block]]] = []
        # Each part of the input channels reads all outputs from the columns, each part of the outputs drives all inputs.
        if 2 * height * width * outputs < cycles * array.columns:
            before, after = self._input_bounds(channels, outputs)
            for cut in (np.flatnonzero(before + after < cycles) + 1).tolist():
                pair = Block((0, cut), every.outputs), Block((cut, channels), every.outputs)
                found.append(((int(before[cut - 1]), int(after[cut - 1])), pair))
        lines = windows.footprint.histogram(every.channels)[0] @ windows.part_inputs
        if 2 * height * width * (lines / (windows.part[0] * windows.part[1])).min() < cycles * array.rows:
            bounds = self._output_bounds(every)
            for cut in (np.flatnonzero((bounds + bounds[::-1])[: outputs // 2] < cycles) + 1).tolist():
                pair = Block(every.channels, (0, outputs - cut)), Block(every.channels, (outputs - cut, outputs))
                found.append(((int(bounds[outputs - cut - 1]), int(bounds[cut - 1])), pair))
        found.sort(key=lambda item: sum(item[0]))
        return found

    def _input_bounds(self, channels: int, outputs: int) -> tuple[Array, Array]:
        """(C_in-1,) cycles at least of the channels before, and after, each cut."""
        footprint, windows = self.windows.footprint, self.windows
        if footprint.mask is None:
            part, copies, inputs = self._distinct()
            bounds = self._bounds(np.arange(1, channels)[:, None] * inputs, part, copies, outputs)
            first = bounds.copy()
            # Only the sizes of the parts matter, so the first can be the larger one: it holds the main window.
            first[: (channels - 1) // 2] = NEVER
            return first, bounds[::-1]
        part = windows.part[0] * windows.part[1]
        patterns = np.eye(len(footprint.patterns), dtype=int)[footprint.pattern_of[0]]
        heights = np.cumsum(patterns, axis=0) @ windows.part_inputs  # (C_in, W)
        before, after = (
            self._bounds(side, part, windows.pixels // part, outputs) for side in (heights[:-1], heights[-1] - heights[:-1])
        )
        # A part without inputs leaves the other one as it was.
        return np.where((heights[:-1, 0] == 0) | (heights[:-1, 0] == heights[-1, 0]), NEVER, before), after

    def _output_bounds(self, every: Block) -> Array:
        """(m-1,) cycles at least of 1, 2, ... m-1 output channels."""
        footprint, windows = self.windows.footprint, self.windows
        outputs = np.arange(1, every.columns)[:, None]
        if footprint.mask is None:
            part, copies, inputs = self._distinct()
            return self._bounds(every.channels[1] * inputs[None], part, copies, outputs)
        part = windows.part[0] * windows.part[1]
        heights = footprint.histogram(every.channels) @ windows.part_inputs
        return self._bounds(heights, part, windows.pixels // part, outputs)

    def _distinct(self) -> tuple[Array, Array, Array]:
        """Pixels of a part, parts, and inputs of a part's channel, of windows that differ in them; the fewest inputs count."""
        windows = self.windows
        part = windows.part[0] * windows.part[1]
        copies = windows.pixels // part
        order = np.lexsort((windows.part_inputs[0], copies, part))
        part, copies, inputs = part[order], copies[order], windows.part_inputs[0][order]
        new = np.ones(len(part), bool)
        new[1:] = (part[1:] != part[:-1]) | (copies[1:] != copies[:-1])
        return part[new], copies[new], inputs[new]

    def _bounds(self, heights: Array, part: Array, copies: Array, outputs: int | Array) -> Array:
        """(K,) cycles that K blocks of channels cost at least: what their best window costs a pixel, times all pixels.

        Args:
            heights: (K, W) or (1, W) rows of a block of each window's matrix.
            part: (W,) pixels of the part of a window that shares inputs.
            copies: (W,) such parts in a window.
            outputs: m, or (K, 1).
        """
        length = max(len(heights), 1 if isinstance(outputs, int) else len(outputs))
        step = max(1, (1 << 17) // len(part))
        found = [np.zeros(0, int)]
        for start in range(0, length, step):
            some = slice(start, start + step)
            found.append(
                self._bound(
                    heights[some] if len(heights) > 1 else heights,
                    part,
                    copies,
                    outputs if isinstance(outputs, int) else outputs[some],
                )
            )
        return np.concatenate(found)

    def _bound(self, heights: Array, part: Array, copies: Array, outputs: int | Array) -> Array:
        rows, columns = self.windows.array.rows, self.windows.array.columns
        size = self.windows.footprint.shape.output
        width = part * outputs
        chunks, rest = width // columns, width % columns
        side_by_side = columns // np.maximum(rest, 1)
        # Stacked: whole chunks of columns, then tiles that touch at most `side_by_side` blocks and hold at most R rows.
        row_tiles = ceil(heights, rows)
        lines = np.where(rest >= part, np.where(side_by_side == 1, row_tiles, heights / rows), 0)
        stacked = chunks * row_tiles + np.where(rest > 0, np.maximum(1 / side_by_side, lines), 0)
        # Side by side, which only blocks of at most R rows can lie; those of more than half of R share no tile.
        stackable = rows // np.maximum(heights, 1)
        beside = np.where(stackable == 1, ceil(width, columns), np.maximum(width / columns, 1 / np.maximum(stackable, 1)))
        tiles = np.ceil(copies * np.where(heights > rows, stacked, np.minimum(stacked, beside)) - 1e-6)
        each = (tiles / (part * copies)).min(axis=1)
        return np.ceil(size[0] * size[1] * each - 1e-6).astype(int)
