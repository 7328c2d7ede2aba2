"""`Cover`: how windows cover the output plane for a block of channels."""

from __future__ import annotations

from dataclasses import dataclass

from rankfold.mapping.region import Region
from rankfold.mapping.windows import Block, Windows
from rankfold.workload.shape import Pair


@dataclass(frozen=True)
class Rectangle:
    """A part of the plane that windows of one size fill.

    Attributes:
        origin: (y, x) of its first output pixel.
        size: (height, width) in output pixels.
        window: (a, b).
    """

    origin: Pair
    size: Pair
    window: Pair

    def transposed(self) -> Rectangle:
        """The same with rows for columns."""
        return Rectangle(
            self.origin[::-1],
            self.size[::-1],
            self.window[::-1],
        )


@dataclass(frozen=True)
class Cover:
    """Rectangles that cover the plane.

    Attributes:
        cycles: (window, tile) activations of all their windows.
        rectangles: the main one first.
    """

    cycles: int
    rectangles: tuple[Rectangle, ...]

    def regions(
        self,
        windows: Windows,
        block: Block,
        layout: str,
    ) -> list[Region]:
        """The rectangles as regions of a mapping.

        Args:
            windows: of the convolution and the array.
            block: the channels that are covered.
            layout: how tiles are cut; see `Region`.
        """
        regions = []
        for rectangle in self.rectangles:
            region = Region(
                windows.footprint,
                windows.array,
                block,
                rectangle.origin,
                rectangle.size,
                rectangle.window,
                layout=layout,
            )
            regions.append(region)
        return regions
