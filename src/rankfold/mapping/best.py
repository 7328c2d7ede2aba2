"""`best`: any windows on any guillotine cut of the plane, one cut through the channels, searched exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from rankfold.mapping.cover import Cover, Rectangle
from rankfold.mapping.plane import Plane
from rankfold.mapping.region import Region
from rankfold.mapping.stored import ELEMENTS
from rankfold.mapping.strips import ceil
from rankfold.mapping.windows import Block, Windows

Array = np.ndarray

# Elements of the arrays that bounds are computed in at once: these stay in the processor's cache.
AT_ONCE = 1 << 15
# Cuts that are left out, or looked at, together.
RUN = 16
# Fractions that make up a whole number may come out above it by less than this.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Cut:
    """A cut through the channels.

    Attributes:
        first: the channels before it.
        second: those after it.
        first_bound: cycles that the first part costs at least.
        second_bound: cycles that the second part costs at least.
    """

    first: Block
    second: Block
    first_bound: int
    second_bound: int

    @property
    def bound(self) -> int:
        """Cycles that both parts cost at least."""
        return self.first_bound + self.second_bound


@dataclass(frozen=True, eq=False)
class _Priced:
    """What windows cost for a block of channels.

    Attributes:
        tiles: (W,) of each window.
        cycles: (W,) where each covers the whole plane alone.
        least: cycles that no cutting of the plane goes below.
    """

    tiles: Array
    cycles: Array
    least: int

    @property
    def alone(self) -> int:
        """Cycles of the best window alone."""
        return int(self.cycles.min())


@dataclass(eq=False)
class BestSearch:
    """The fewest cycles over the space that docs/mapping.md defines.

    Attributes:
        windows: the windows that may be used.
        enough: cycles that cannot be beaten; the search stops when it gets there.
    """

    windows: Windows
    enough: int
    _planes: dict[Block, Plane] = field(default_factory=dict)
    _prices: dict[Block, _Priced] = field(default_factory=dict)

    def solve(self) -> tuple[int, list[Region]]:
        """Cycles and regions."""
        every = Block.whole(self.windows.footprint)
        blocks = [every]
        cycles = self._cycles(every)
        for cut in self._cuts(every, cycles):
            # Cuts come in the order of their bounds: none of those that follow can save cycles either.
            if cut.bound >= cycles or cycles <= self.enough:
                break
            # The tiles of both parts tell more than that bound does, and far sooner than their covers.
            if self._least(cut.first) + cut.second_bound >= cycles:
                continue
            if self._least(cut.first) + self._least(cut.second) >= cycles:
                continue
            both = self._cycles(cut.first)
            if both + self._least(cut.second) >= cycles:
                continue
            both += self._cycles(cut.second)
            if both < cycles:
                cycles = both
                blocks = [cut.first, cut.second]
        regions = []
        for block in blocks:
            regions += self.cover(block).regions(
                self.windows,
                block,
                ELEMENTS,
            )
        return cycles, regions

    def cover(self, block: Block) -> Cover:
        """The cheapest cover of the plane for a block of channels."""
        plane = self._plane(block)
        priced = self._priced(block)
        # One window for all stores the fewest tiles.
        if plane is not None and plane.cycles < priced.alone:
            return plane.solve()
        windows = self.windows
        index = int(priced.cycles.argmin())
        return Cover(priced.alone, (Rectangle((0, 0), windows.output, windows.window(index)),))

    def _cycles(self, block: Block) -> int:
        """Those of its cheapest cover."""
        plane = self._plane(block)
        alone = self._priced(block).alone
        if plane is None:
            return alone
        return min(alone, plane.cycles)

    def _plane(self, block: Block) -> Plane | None:
        """How the plane is best cut for a block of channels; None where no cutting saves cycles."""
        priced = self._priced(block)
        if priced.alone <= priced.least:
            return None
        if block not in self._planes:
            windows = self.windows
            self._planes[block] = Plane.of(windows.output, windows.a, windows.b, priced.tiles)
        return self._planes[block]

    def _priced(self, block: Block) -> _Priced:
        if block not in self._prices:
            windows = self.windows
            tiles = windows.tiles(block)  # (W,)
            cycles = windows.positions * tiles
            height, width = windows.output
            # No cutting costs less a pixel than the best window does.
            least = ceil(height * width * tiles, windows.pixels)
            self._prices[block] = _Priced(tiles, cycles, int(least.min()))
        return self._prices[block]

    def _least(self, block: Block) -> int:
        """Cycles that a block of channels costs at least."""
        return self._priced(block).least

    def _cuts(self, every: Block, cycles: int) -> list[Cut]:
        """Cuts through the input or the output channels that could save cycles, the lowest bounds first.

        Convolutions with groups are cut into blocks as it is, and are not cut again.

        Args:
            every: all channels.
            cycles: those of the best mapping without a cut.
        """
        windows = self.windows
        array = windows.array
        if windows.footprint.shape.groups > 1 or cycles <= self.enough:
            return []
        height, width = windows.output
        pixels = height * width
        cuts: list[Cut] = []
        # Both parts of the input channels read all outputs from the columns, C in a cycle.
        if 2 * pixels * every.columns < cycles * array.columns:
            cuts += self._input_cuts(every, cycles)
        # Both parts of the outputs drive all inputs, R in a cycle, those of the thriftiest window at best.
        (channels_of_pattern,) = windows.footprint.histogram(every.channels)
        lines = channels_of_pattern @ windows.part_inputs  # (W,)
        lines_per_pixel = (lines / windows.part_pixels).min()
        if 2 * pixels * lines_per_pixel < cycles * array.rows:
            cuts += self._output_cuts(every, cycles)
        cuts.sort(key=lambda cut: cut.bound)
        return cuts

    def _input_cuts(self, every: Block, cycles: int) -> list[Cut]:
        """Cuts through the input channels whose bounds are below so many cycles."""
        _, channels = every.channels
        if self.windows.footprint.mask is not None:
            return self._input_cuts_of_support(every, cycles)
        cuts = []
        for smaller, first_bound, second_bound in self._sizes(every, cycles, cut_inputs=True)[::-1]:
            # Only the sizes of the parts matter: the first can be the larger one, with the main window.
            larger = channels - smaller
            first = Block((0, larger), every.outputs)
            second = Block((larger, channels), every.outputs)
            cuts.append(Cut(first, second, first_bound, second_bound))
        return cuts

    def _output_cuts(self, every: Block, cycles: int) -> list[Cut]:
        """Cuts through the output channels whose bounds are below so many cycles, the larger part first."""
        outputs = every.columns
        cuts = []
        for smaller, first_bound, second_bound in self._sizes(every, cycles, cut_inputs=False):
            larger = outputs - smaller
            first = Block(every.channels, (0, larger))
            second = Block(every.channels, (larger, outputs))
            cuts.append(Cut(first, second, first_bound, second_bound))
        return cuts

    # More channels never have a lower bound: no count in `_bound` falls where a block gets rows or columns.
    # So of all cuts whose smaller part has x to y of n channels, none has a bound below that of x and of
    # n - y channels together, and most runs of cuts are left out by this one sum.
    def _sizes(self, every: Block, cycles: int, *, cut_inputs: bool) -> list[tuple[int, int, int]]:
        """Cuts whose bounds are below so many cycles, by the size of the smaller part.

        Returns:
            channels of the smaller part, bounds of the larger and of the smaller part.
        """
        total, bounds = every.columns, self._bounds_of_outputs
        if cut_inputs:
            total, bounds = every.channels[1], self._bounds_of_inputs
        half = total // 2
        least = np.arange(1, half + 1, RUN)  # x of each run
        most = np.minimum(least + RUN - 1, half)
        small, large = np.split(bounds(every, np.concatenate((least, total - most))), 2)
        within = (least[small + large < cycles, None] + np.arange(RUN)).ravel()
        within = within[within <= half]
        small, large = np.split(bounds(every, np.concatenate((within, total - within))), 2)
        below = small + large < cycles
        sizes = within[below].tolist(), large[below].tolist(), small[below].tolist()
        return list(zip(*sizes, strict=True))

    def _bounds_of_inputs(self, every: Block, sizes: Array) -> Array:
        """(K,) cycles at least of K numbers of input channels without a support, and all outputs."""
        part, copies, inputs = self._distinct
        return self._bounds(sizes[:, None] * inputs, part, copies, np.array([[every.columns]]))

    def _bounds_of_outputs(self, every: Block, sizes: Array) -> Array:
        """(K,) cycles at least of K numbers of output channels, and all inputs."""
        windows = self.windows
        if windows.footprint.mask is None:
            part, copies, inputs = self._distinct
            heights = every.channels[1] * inputs[None]  # (1, W')
            return self._bounds(heights, part, copies, sizes[:, None])
        heights = windows.footprint.histogram(every.channels) @ windows.part_inputs  # (1, W)
        return self._bounds(heights, windows.part_pixels, windows.copies, sizes[:, None])

    def _input_cuts_of_support(self, every: Block, cycles: int) -> list[Cut]:
        """As `_input_cuts`, where channels have supports, so that their order matters."""
        _, channels = every.channels
        windows = self.windows
        footprint = windows.footprint
        patterns = np.eye(len(footprint.patterns), dtype=int)
        one_hot = patterns[footprint.pattern_of[0]]  # (C_in, P)
        heights = np.cumsum(one_hot, axis=0) @ windows.part_inputs  # (C_in, W)
        lines_before = heights[:-1]  # (C_in-1, W)
        lines_after = heights[-1] - lines_before
        part, copies = windows.part_pixels, windows.copies
        columns = np.array([[every.columns]])
        before = self._bounds(lines_before, part, copies, columns)
        after = self._bounds(lines_after, part, copies, columns)
        # A part without inputs leaves the other one as it was.
        is_cut = (lines_before[:, 0] > 0) & (lines_after[:, 0] > 0)
        cuts = []
        for index in np.flatnonzero(is_cut & (before + after < cycles)).tolist():
            first = Block((0, index + 1), every.outputs)
            second = Block((index + 1, channels), every.outputs)
            cuts.append(Cut(first, second, int(before[index]), int(after[index])))
        return cuts

    @cached_property
    def _distinct(self) -> tuple[Array, Array, Array]:
        """Pixels of a part, parts, and inputs of a part's channel, of windows that differ in the first two.

        Of windows that agree in them the one with the fewest inputs counts: more never have a lower bound.
        """
        windows = self.windows
        by_window = windows.part_inputs[0]
        order = np.lexsort((by_window, windows.copies, windows.part_pixels))
        part = windows.part_pixels[order]
        copies = windows.copies[order]
        inputs = by_window[order]
        other_part = part[1:] != part[:-1]
        other_copies = copies[1:] != copies[:-1]
        first = np.ones(len(order), bool)
        first[1:] = other_part | other_copies  # of those with the same part and copies
        return part[first], copies[first], inputs[first]

    def _bounds(
        self,
        heights: Array,
        part: Array,
        copies: Array,
        outputs: Array,
    ) -> Array:
        """(K,) cycles that K blocks of channels cost at least: the best window's a pixel, times all pixels.

        Args:
            heights: (K, W) or (1, W) rows of a block of each window's matrix.
            part: (W,) pixels of the part of a window that shares inputs.
            copies: (W,) such parts in a window.
            outputs: (K, 1) or (1, 1) output channels of each block.
        """
        blocks = max(len(heights), len(outputs))
        step = max(1, AT_ONCE // len(part))
        bounds = [np.zeros(0, int)]
        for start in range(0, blocks, step):
            some = slice(start, start + step)
            bound = self._bound(
                _rows(heights, some),
                part,
                copies,
                _rows(outputs, some),
            )
            bounds.append(bound)
        return np.concatenate(bounds)

    # A lower bound of the tiles of `Windows.layouts`, without its strips. Of one window, with h rows and p*m
    # columns in each of its q diagonal blocks (`heights`, `part`, `outputs`, `copies`) on an R x C array:
    #
    # Stacked, a block has floor(p*m/C) chunks of C columns, each of ceil(h/R) tiles of its own. Of the rest
    # of s = p*m mod C columns, one tile holds those of k = floor(C/s) blocks at most, and R rows. So the q
    # blocks need
    #
    #     q/k tiles at least, as each is touched by one;
    #     q*h/R tiles at least, where s >= p: then the rest reads all h rows (otherwise they may be fewer);
    #     q*ceil(h/R) tiles, where besides k = 1, as then no two blocks share a tile.
    #
    # Side by side, which only blocks with h <= R can lie, one tile holds C columns and touches l = floor(R/h)
    # blocks at most: the q blocks need q*p*m/C and q/l tiles at least, and q*ceil(p*m/C) where l = 1.
    #
    # The cheaper layout counts, rounded up, as tiles are whole. Windows that cover a plane of H*W pixels,
    # whatever their sizes, have H*W pixels in all or more, each of which costs as much as in the thriftiest
    # window or more: the tiles of that window over its p*q pixels. So no cutting of the plane needs fewer
    # than H*W times that many cycles, rounded up. The bound only decides which cuts are searched; no cut that
    # saves cycles is ever missed.
    def _bound(
        self,
        heights: Array,
        part: Array,
        copies: Array,
        outputs: Array,
    ) -> Array:
        """(K,) cycles that K blocks of channels cost at least; arguments as of `_bounds`, all at once."""
        rows = self.windows.array.rows
        columns = self.windows.array.columns
        height, width = self.windows.output
        # All of these are (K, W), or (1, W) where all blocks are alike.
        block_width = part * outputs  # p*m
        chunks = block_width // columns
        rest = block_width % columns  # s
        side_by_side = columns // np.maximum(rest, 1)  # k
        row_tiles = ceil(heights, rows)
        by_rows = np.where(
            side_by_side == 1,
            row_tiles,
            heights / rows,
        )
        by_rows = np.where(rest >= part, by_rows, 0)
        by_blocks = np.where(
            rest > 0,
            1 / side_by_side,
            0,
        )
        # Both are zero where nothing is left of the columns.
        last = np.maximum(by_blocks, by_rows)
        stacked = chunks * row_tiles + last
        stackable = rows // np.maximum(heights, 1)  # l
        by_columns = block_width / columns
        by_touch = 1 / np.maximum(stackable, 1)
        beside = np.where(
            stackable == 1,
            ceil(block_width, columns),
            np.maximum(by_columns, by_touch),
        )
        cheaper = np.where(
            heights > rows,
            stacked,
            np.minimum(stacked, beside),
        )
        tiles = np.ceil(copies * cheaper - ROUNDING)
        by_window = tiles / (part * copies)
        per_pixel = by_window.min(axis=1)  # (K,)
        cycles = np.ceil(height * width * per_pixel - ROUNDING)
        return cycles.astype(int)


def _rows(values: Array, rows: slice) -> Array:
    """These rows of a matrix, or its only row, which stands for all."""
    if len(values) == 1:
        return values
    return values[rows]
