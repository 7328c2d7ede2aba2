"""`Network`: the weight-carrying layers of a network in execution order."""

from __future__ import annotations

from dataclasses import dataclass

from rankfold.workload.shape import ConvShape


@dataclass(frozen=True)
class Network:
    """What mapping, cost and planning know of a network.

    Attributes:
        name: as the user gave it.
        input: (C, H, W) of one image.
        layers: convolutions and fully connected layers in execution order. A module that runs twice appears twice,
            under the names `conv` and `conv#2`, with the same `weight`.
        untouched: weight-carrying layers of other kinds, as (name, what it is); they are left alone.
    """

    name: str
    input: tuple[int, int, int]
    layers: tuple[ConvShape, ...]
    untouched: tuple[tuple[str, str], ...] = ()

    @property
    def convolutions(self) -> tuple[ConvShape, ...]:
        """The convolutions alone."""
        return tuple(layer for layer in self.layers if layer.kind == "conv")
