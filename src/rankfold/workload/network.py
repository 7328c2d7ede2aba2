"""`Network`: the weight-carrying layers of a network in execution order."""

from __future__ import annotations

from dataclasses import dataclass

from rankfold.arguments import Wanted
from rankfold.notebooks import Shown, in_brackets
from rankfold.workload.flow import Flow
from rankfold.workload.inputs import InputSpec
from rankfold.workload.product import Product
from rankfold.workload.shape import ConvShape, Image


@dataclass(frozen=True)
class Untouched:
    """A weight-carrying layer of a kind that is neither mapped nor changed.

    Attributes:
        name: the layer's name in its network.
        what: what it is and why it is left alone, in words.
        macs: multiply-accumulates for one image; 0 where it has none (a lookup table), None where they are
            not known.
        parameters: its weights, without bias.
        products: what it multiplies, where it is products of two computed values of known size.
    """

    name: str
    what: str
    macs: int | None = None
    parameters: int = 0
    products: tuple[Product, ...] = ()


@dataclass(frozen=True)
class Network(Shown):
    """What mapping, cost and planning know of a network.

    Attributes:
        name: as the user gave it.
        input: (C, H, W) of one image.
        layers: convolutions and fully connected layers in execution order. A module that runs twice appears
            twice, under the names `conv` and `conv#2`, with the same `weight`.
        untouched: weight-carrying layers of other kinds; they are left alone.
        parameters: all parameters of the network, with biases, norms and what never runs; None: only the
            layers' are known.
        inputs: what the network is called with, where that is not one image.
        supports: kernel positions that layers keep, (name, positions as plans have them), where the source of
            the network says so.
        flow: whose outputs each layer reads; None: the source of the network does not say.
    """

    name: str
    input: Image
    layers: tuple[ConvShape, ...]
    untouched: tuple[Untouched, ...] = ()
    parameters: int | None = None
    inputs: tuple[InputSpec, ...] = ()
    supports: tuple[tuple[str, str], ...] = ()
    flow: Flow | None = None

    def __repr__(self) -> str:
        sizes = "x".join(map(str, self.input))
        return in_brackets("Network", f"{self.name}: {len(self.layers)} layers, input {sizes}")

    @property
    def convolutions(self) -> tuple[ConvShape, ...]:
        """The convolutions alone."""
        return tuple(layer for layer in self.layers if not layer.is_linear)


# For `arguments.takes`.
NETWORK = Wanted("a Network, as trace(model, ...) and zoo_network(name) give it", Network)
