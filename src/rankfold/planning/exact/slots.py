"""The layers that a plan has to say something of, before anything is known of what they may become."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rankfold.mapping import ArraySpec
from rankfold.plan import LayerPlan, Plan
from rankfold.plan.uniform import DEPTHWISE, POINTWISE, Bits, check_plan_bits, in_weights
from rankfold.plan.uniform import candidates as planned_layers
from rankfold.planning.exact.widths import BitChoices
from rankfold.workload import ConvShape, Network
from rankfold.workload.shape import Pair


@dataclass(frozen=True)
class Channels:
    """Channels between a layer and the only one that reads them.

    Attributes:
        reader: that one.
        counts: how many of them may be left, falling.
        order: all of them, those first that the reader can do without least; empty where it is not known.
    """

    reader: str
    counts: tuple[int, ...]
    order: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LayerSlot:
    """One layer that a plan has to say something of.

    Attributes:
        shape: the layer.
        entry: the layer kept dense, with its bits, under its best mapping.
        why_dense: why it can only stay as it is, in words; empty where it may be compressed.
        array: where it lies, R x C with columns counted in weights of its bits.
        plane: (OH, OW) the smallest output plane of all its runs.
        one_plane: whether all of them have the same.
        bypassed: whether some way through the network goes around it, as that of a residual sum.
        given: the channels that it gives, where only one layer reads them and there may be fewer.
        read: the channels that it alone reads, likewise.
        kinds: labels of the kinds that it may become beside dense; None: all that there are.
        widths: bits that it may have, its own among them; None: its own alone, and rounding does not count.
        why_bits: why it keeps its bits where other layers may have others, in words.
    """

    shape: ConvShape
    entry: LayerPlan
    why_dense: str
    array: ArraySpec
    plane: Pair
    one_plane: bool = True
    kinds: frozenset[str] | None = None
    widths: BitChoices | None = None
    why_bits: str = ""
    bypassed: bool = False
    given: Channels | None = None
    read: Channels | None = None

    @property
    def name(self) -> str:
        """The layer's name in the plan."""
        return self.entry.name

    @property
    def is_depthwise(self) -> bool:
        """Whether it stays as it is only for being a depthwise convolution: it may have fewer channels."""
        return self.why_dense == DEPTHWISE and self.shape.is_depthwise

    @property
    def is_unstudied(self) -> bool:
        """Whether it stays as it is for being a depthwise or 1x1 convolution: nothing is gathered of its
        weight, but a network may do without it.
        """
        return self.why_dense in (DEPTHWISE, POINTWISE)

    @property
    def spatial(self) -> bool:
        """Whether its kernel has positions to choose from."""
        return not self.why_dense and self.shape.kernel != (1, 1)

    def with_bits(self, array: ArraySpec, weight_bits: int, input_bits: int) -> LayerSlot:
        """The layer with other bits.

        Args:
            array: R x C, with cells where the user named them.
            weight_bits: of its weights.
            input_bits: of its inputs.

        Raises:
            InputError: the array does not hold one such weight.
        """
        entry = replace(self.entry, weight_bits=weight_bits, input_bits=input_bits)
        return replace(self, entry=entry, array=in_weights(array, weight_bits))

    def variants(self, array: ArraySpec) -> tuple[LayerSlot, ...]:
        """The layer with each of the widths of weights that it may have, under the widest inputs."""
        if self.widths is None:
            return (self,)
        widest = max(self.widths.inputs)
        return tuple(self.with_bits(array, bits, widest) for bits in self.widths.weights)


def layer_slots(
    network: Network,
    array: ArraySpec,
    bits: Bits = None,
    *,
    pointwise: bool = False,
    linear: bool = False,
) -> tuple[LayerSlot, ...]:
    """The layers of a network, in its order.

    The first convolution, the classifier, depthwise convolutions and layers
    that cannot be replaced stay dense, and so do 1x1 convolutions and fully connected layers unless asked
    for.

    Args:
        network: the network.
        array: R x C, with cells where the user named them.
        bits: of weights and inputs, 1 to 8, or (of weights, of inputs); 8 in the first convolution and the
            classifier; None for float.
        pointwise: whether 1x1 convolutions may become low-rank.
        linear: whether fully connected layers may.

    Raises:
        InputError: bits out of range.
    """
    check_plan_bits(bits)  # also for a network of which no layer is quantised
    planes: dict[str, list[Pair]] = {}
    for shape in network.layers:
        planes.setdefault(shape.weight, []).append(shape.output)
    slots = []
    for name, shape, why, (weight_bits, input_bits) in planned_layers(network, bits, pointwise, linear):
        # The best mapping is what savings are measured against: a budget of 100 % costs nothing.
        dense = LayerPlan(name, mapping="best", weight_bits=weight_bits, input_bits=input_bits, reason=why)
        heights, widths = zip(*planes[name], strict=True)
        smallest = min(heights), min(widths)
        one_plane = len(set(planes[name])) == 1
        slots.append(
            LayerSlot(
                shape=shape,
                entry=dense,
                why_dense=why,
                array=in_weights(array, weight_bits),
                plane=smallest,
                one_plane=one_plane,
            )
        )
    return tuple(slots)


def dense_network(network: Network, array: ArraySpec, slots: tuple[LayerSlot, ...]) -> Plan:
    """The plan that keeps every layer, each with its best mapping: what budgets in per cent are shares of."""
    layers = tuple(slot.entry for slot in slots)
    return Plan.of(network, array, layers)
