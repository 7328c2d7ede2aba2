"""Random numbers that depend on what they are for, and on nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Draws:
    """Generators on the CPU, one for each effect.

    Switching one effect on or off leaves what the others draw as it is.

    Attributes:
        seed: of the chip.
        layer: name of the layer.
        number: how often this layer was programmed in training.
    """

    seed: int
    layer: str
    number: int = 0
    _held: dict[str, torch.Generator] = field(
        default_factory=dict,
        repr=False,
        compare=False,
    )

    def of(self, effect: str) -> torch.Generator:
        """The generator of an effect; it goes on where the last call left it."""
        if effect not in self._held:
            draw = torch.Generator()
            draw.manual_seed(self.mix(effect))
            self._held[effect] = draw
        return self._held[effect]

    def mix(self, effect: str) -> int:
        """The seed of an effect, for a generator on another device."""
        text = f"{self.seed} {self.layer} {self.number} {effect}"
        digest = hashlib.sha256(text.encode()).digest()
        return int.from_bytes(digest[:7], "big")
