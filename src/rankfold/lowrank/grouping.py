"""`Grouping`: which channels of a convolution belong together where it computes in groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grouping:
    """Which channels belong together.

    Attributes:
        inputs: (C_in,) the block of each input channel, from 0 to G - 1.
        outputs: (m,) the block of each output channel.
    """

    inputs: np.ndarray
    outputs: np.ndarray

    @property
    def input_order(self) -> np.ndarray:
        """(C_in,) the input channels, block by block."""
        return np.argsort(self.inputs, kind="stable")

    @property
    def output_order(self) -> np.ndarray:
        """(m,) the output channels, block by block."""
        return np.argsort(self.outputs, kind="stable")

    def mask(self, conv_groups: int) -> np.ndarray:
        """(m, C_in/G) booleans, which channels of its own convolution group an output reads.

        Args:
            conv_groups: G of the convolution, whose blocks follow each other.
        """
        inputs = self.inputs.reshape(conv_groups, -1)  # (G, C_in/G)
        of_outputs = np.repeat(inputs, len(self.outputs) // conv_groups, axis=0)  # (m, C_in/G)
        mask: np.ndarray = of_outputs == self.outputs[:, None]
        return mask


def contiguous(channels: int, outputs: int, blocks: int) -> Grouping:
    """The grouping of channels as they come."""
    return Grouping(
        np.repeat(np.arange(blocks), channels // blocks), np.repeat(np.arange(blocks), outputs // blocks)
    )
