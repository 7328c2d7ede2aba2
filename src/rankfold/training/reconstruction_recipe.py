"""How a network is reconstructed, and what became of each block."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rankfold.arguments import NUMBER, WHOLE, check_fields
from rankfold.errors import InputError

BATCH = 32  # samples of a step


@dataclass(frozen=True)
class Reconstruction:
    """How a network is reconstructed.

    Attributes:
        images: training samples that are looked at.
        steps: of each block, of 32 samples each.
        rate: of Adam at the first step, in units of the weights; it falls to zero along a cosine. Step sizes
            have a tenth of it.
    """

    images: int = 512
    steps: int = 400
    rate: float = 1e-3

    def __post_init__(self) -> None:
        check_fields(self, images=WHOLE, steps=WHOLE, rate=NUMBER)
        if self.images < BATCH:
            raise InputError(f"images (={self.images}) must be {BATCH} or more, as many as a step looks at")
        if self.steps < 1:
            raise InputError(f"steps (={self.steps}) must be 1 or more; leave reconstruction out for none")
        if not 0 < self.rate < math.inf:
            raise InputError(f"rate (={self.rate}) must be a positive number")


@dataclass(frozen=True)
class BlockRecord:
    """What became of one block.

    Attributes:
        name: of the module.
        before: error of its outputs beside those of the reference, on the images: their squares, weighted by
            importance, over those of the reference's outputs; of a block that gives the outputs of the
            network, the loss of these (`calibration.output_losses`): of scores the divergence of soft ones in
            nats (`Distillation.soft_loss`), of values the squared error over their variance.
        after: the same in the end; not above `before`.
        seconds: that it took.
    """

    name: str
    before: float
    after: float
    seconds: float

    def in_words(self) -> str:
        """The line that tells of this block."""
        return f"{self.name}, error {self.before:.4f} -> {self.after:.4f}, {self.seconds:.0f} s"
