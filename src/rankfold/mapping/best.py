"""`best`: any windows on any guillotine cut of the plane, one cut through the channels, searched exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

import numpy as np

from rankfold.mapping.bounds import Bounds
from rankfold.mapping.cover import Cover, Rectangle
from rankfold.mapping.diagonal_blocks import ELEMENTS
from rankfold.mapping.plane import Plane
from rankfold.mapping.region import Region
from rankfold.mapping.strips import ceil
from rankfold.mapping.windows import Block, Windows

Array = np.ndarray

# Cuts that are left out, or looked at, together.
RUN = 16
# Cuts that are priced together: at first, and at most.
FIRST_CUTS, MOST_CUTS = 4, 64
NO_CUTS = np.zeros((3, 0), int)


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
        alone: cycles of the best window alone, where it covers the whole plane.
        window: which it is.
        least: cycles that no cutting of the plane goes below.
    """

    tiles: Array
    alone: int
    window: int
    least: int


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
        cycles = self._cycles([every])[every]
        cuts = self._cuts(every, cycles)
        # Several cuts are looked at together, as arrays of few numbers are slow. The first ones save most.
        together = FIRST_CUTS
        while some := list(islice(cuts, together)):
            # Cuts come in the order of their bounds: none of those that follow can save cycles either.
            if some[0].bound >= cycles or cycles <= self.enough:
                break
            for cut, both in self._below(some, cycles):
                if both < cycles:
                    cycles = both
                    blocks = [cut.first, cut.second]
            together = min(2 * together, MOST_CUTS)
        regions = []
        for block in blocks:
            regions += self.cover(block).regions(
                self.windows,
                block,
                ELEMENTS,
            )
        return cycles, regions

    @cached_property
    def _bounds(self) -> Bounds:
        return Bounds(self.windows)

    def cover(self, block: Block) -> Cover:
        """The cheapest cover of the plane for a block of channels."""
        cycles = self._cycles([block])[block]
        priced = self._prices[block]
        # One window for all stores the fewest tiles.
        if cycles < priced.alone:
            return self._planes[block].solve()
        windows = self.windows
        return Cover(priced.alone, (Rectangle((0, 0), windows.output, windows.window(priced.window)),))

    def _below(self, cuts: list[Cut], cycles: int) -> list[tuple[Cut, int]]:
        """Those of some cuts that may cost less than so many cycles, and what they cost."""
        # The tiles of both parts tell more than their bounds do, and far sooner than their covers.
        least = self._least([cut.first for cut in cuts])
        cuts = [cut for cut in cuts if least[cut.first] + cut.second_bound < cycles]
        least |= self._least([cut.second for cut in cuts])
        cuts = [cut for cut in cuts if least[cut.first] + least[cut.second] < cycles]
        first = self._cycles([cut.first for cut in cuts])
        cuts = [cut for cut in cuts if first[cut.first] + least[cut.second] < cycles]
        second = self._cycles([cut.second for cut in cuts])
        return [(cut, first[cut.first] + second[cut.second]) for cut in cuts]

    def _cycles(self, blocks: list[Block]) -> dict[Block, int]:
        """Those of the cheapest cover of each block."""
        least = self._least(blocks)
        prices = self._prices
        # Where one window comes down to what none goes below, no cutting of the plane saves cycles.
        cut = [block for block in blocks if least[block] < prices[block].alone]
        new = [block for block in cut if block not in self._planes]
        if new:
            windows = self.windows
            tiles = np.stack([prices[block].tiles for block in new])
            planes = Plane.each(windows.output, windows.a, windows.b, tiles)
            self._planes.update(zip(new, planes, strict=True))
        cycles = {block: prices[block].alone for block in blocks}
        for block in cut:
            cycles[block] = min(cycles[block], self._planes[block].cycles)
        return cycles

    def _least(self, blocks: list[Block]) -> dict[Block, int]:
        """Cycles that each block of channels costs at least."""
        new = [block for block in blocks if block not in self._prices]
        if new:
            windows = self.windows
            tiles = windows.tiles_of_each(new)  # (K, W)
            cycles = windows.positions * tiles
            height, width = windows.output
            # No cutting costs less a pixel than the best window does.
            least = ceil(height * width * tiles, windows.pixels).min(axis=1)
            alone = cycles.argmin(axis=1)
            numbers = alone.tolist(), cycles.min(axis=1).tolist(), least.tolist()
            for block, of_block, window, cheapest, most in zip(new, tiles, *numbers, strict=True):
                self._prices[block] = _Priced(of_block, cheapest, window, most)
        return {block: self._prices[block].least for block in blocks}

    def _cuts(self, every: Block, cycles: int) -> Iterator[Cut]:
        """Cuts through the input or the output channels that could save cycles, the lowest bounds first.

        Convolutions with groups are cut into blocks as it is, and are not cut again.

        Args:
            every: all channels.
            cycles: those of the best mapping without a cut.
        """
        windows = self.windows
        array = windows.array
        if windows.footprint.shape.groups > 1 or cycles <= self.enough:
            return
        height, width = windows.output
        pixels = height * width
        inputs = outputs = NO_CUTS
        # Both parts of the input channels read all outputs from the columns, C in a cycle.
        if 2 * pixels * every.columns < cycles * array.columns:
            inputs = self._input_cuts(every, cycles)
        # Both parts of the outputs drive all inputs, R in a cycle, those of the thriftiest window at best.
        (channels_of_pattern,) = windows.footprint.histogram(every.channels)
        lines = channels_of_pattern @ windows.part_inputs  # (W,)
        lines_per_pixel = (lines / windows.part_pixels).min()
        if 2 * pixels * lines_per_pixel < cycles * array.rows:
            outputs = self._output_cuts(every, cycles)
        both = np.concatenate((inputs, outputs), axis=1)
        order = np.argsort(both[1] + both[2], kind="stable")
        is_input = order < inputs.shape[1]
        for through_inputs, cut in zip(is_input.tolist(), both[:, order].T.tolist(), strict=True):
            yield _cut(every, through_inputs, *cut)

    def _input_cuts(self, every: Block, cycles: int) -> Array:
        """(3, K) cuts through the input channels whose bounds are below so many cycles.

        Returns:
            of each, the channels before it and the bounds of both parts.
        """
        _, channels = every.channels
        if self.windows.footprint.mask is not None:
            return self._input_cuts_of_support(every, cycles)
        # Only the sizes of the parts matter: the first can be the larger one, with the main window.
        smaller, first_bound, second_bound = self._sizes(every, cycles, cut_inputs=True)[:, ::-1]
        return np.stack((channels - smaller, first_bound, second_bound))

    def _output_cuts(self, every: Block, cycles: int) -> Array:
        """(3, K) as `_input_cuts`, through the output channels, the larger part first."""
        smaller, first_bound, second_bound = self._sizes(every, cycles, cut_inputs=False)
        return np.stack((every.columns - smaller, first_bound, second_bound))

    # More channels never have a lower bound. So of all cuts whose smaller part has x to y of n channels, none
    # has a bound below that of x and of n - y channels together, and most runs of cuts are left out by this
    # one sum.
    def _sizes(self, every: Block, cycles: int, *, cut_inputs: bool) -> Array:
        """(3, K) cuts whose bounds are below so many cycles, by the size of the smaller part.

        Returns:
            of each, the channels of the smaller part, the bounds of the larger and of the smaller part.
        """
        total, bounds = every.columns, self._bounds.of_outputs
        if cut_inputs:
            total, bounds = every.channels[1], self._bounds.of_inputs
        half = total // 2
        least = np.arange(1, half + 1, RUN)  # x of each run
        most = np.minimum(least + RUN - 1, half)
        small, large = np.split(bounds(every, np.concatenate((least, total - most))), 2)
        within = (least[small + large < cycles, None] + np.arange(RUN)).ravel()
        within = within[within <= half]
        small, large = np.split(bounds(every, np.concatenate((within, total - within))), 2)
        return np.stack((within, large, small))[:, small + large < cycles]

    def _input_cuts_of_support(self, every: Block, cycles: int) -> Array:
        """As `_input_cuts`, where channels have supports, so that their order matters."""
        windows = self.windows
        footprint = windows.footprint
        patterns = np.eye(len(footprint.patterns), dtype=int)
        one_hot = patterns[footprint.pattern_of[0]]  # (C_in, P)
        heights = np.cumsum(one_hot, axis=0) @ windows.part_inputs  # (C_in, W)
        lines_before = heights[:-1]  # (C_in-1, W)
        lines_after = heights[-1] - lines_before
        before = self._bounds.of_heights(every, lines_before)
        after = self._bounds.of_heights(every, lines_after)
        # A part without inputs leaves the other one as it was.
        is_cut = (lines_before[:, 0] > 0) & (lines_after[:, 0] > 0)
        found = np.stack((np.arange(1, len(heights)), before, after))
        return found[:, is_cut & (before + after < cycles)]


def _cut(every: Block, through_inputs: bool, before: int, first_bound: int, second_bound: int) -> Cut:
    """The cut that so many input channels, or output channels, come before."""
    channels, outputs = every.channels[1], every.outputs[1]
    if through_inputs:
        first = Block((0, before), every.outputs)
        second = Block((before, channels), every.outputs)
    else:
        first = Block(every.channels, (0, before))
        second = Block(every.channels, (before, outputs))
    return Cut(first, second, first_bound, second_bound)
