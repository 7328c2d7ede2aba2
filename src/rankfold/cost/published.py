"""Cycles of a network as the authors of PAIRS and GAROS count them (see `mapping.published`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rankfold.arguments import takes
from rankfold.cost.kinds import cost_of
from rankfold.cost.planned import MASKS, Masks
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.mapping.array import ARRAY
from rankfold.mapping.published import PublishedCount, is_counted
from rankfold.plan.plan import PLAN, Plan
from rankfold.workload import ConvShape, Network
from rankfold.workload.network import NETWORK

PUBLISHED = "published"  # the reading
# Of the large array that windows are found for, in channels of the widest layer: 512x256 for the 64 of
# ResNet-20, and 2048x1024 for the 256 of WRN16-4.
ROWS_A_CHANNEL, COLUMNS_A_CHANNEL = 8, 4


@dataclass(frozen=True)
class PublishedCycles:
    """What a network costs in the published reading.

    Attributes:
        model: the network.
        array: R x C, columns counted in weights.
        large: the array that windows were found for.
        layers: those that count, with their counts.
        runs: how many layers the network has.
    """

    model: str
    array: ArraySpec
    large: ArraySpec
    layers: tuple[tuple[ConvShape, PublishedCount], ...]
    runs: int

    @property
    def cycles(self) -> int:
        """Per image, of all layers that count."""
        return sum(count.cycles for _, count in self.layers)

    @property
    def conversions(self) -> int:
        """Columns converted by ADCs per image, of all layers that count."""
        return sum(count.conversions for _, count in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Its part of `rankfold map --json`."""
        layers = []
        for shape, count in self.layers:
            layers.append({"name": shape.name, "window": list(count.window), "cycles": count.cycles})
        return {
            "windows_for": [self.large.rows, self.large.columns],
            "cycles": self.cycles,
            "conversions": self.conversions,
            "layers": layers,
        }


def large_array(network: Network) -> ArraySpec:
    """The array that windows are found for where nobody names one.

    It has 8 rows and 4 columns for each channel of the widest layer that counts, which gives both of the
    arrays that were published.

    Raises:
        InputError: no layer counts.
    """
    counted = [shape.m for shape in network.layers if is_counted(shape)]
    if not counted:
        raise InputError(
            f"{network.name} has no layer that the published reading counts: it counts 3x3 convolutions of "
            "stride 1 with as many outputs as inputs"
        )
    return ArraySpec(ROWS_A_CHANNEL * max(counted), COLUMNS_A_CHANNEL * max(counted))


def has_published_cycles(network: Network, plan: Plan) -> bool:
    """Whether the reading counts any layer of a network, and can count each of them as it is planned.

    It cannot where a window is larger than a plane without padding.

    Args:
        network: the network.
        plan: what every layer becomes.
    """
    counted = [shape for shape in network.layers if is_counted(shape)]
    kinds = [plan.layer(shape.weight).kind for shape in counted]
    return bool(counted) and all(
        cost_of(kind).has_published(shape.without_padding(), kind)
        for shape, kind in zip(counted, kinds, strict=True)
    )


@takes(network=NETWORK, plan=PLAN, masks=MASKS.or_none, large=ARRAY.or_none)
def published_cycles(
    network: Network,
    plan: Plan,
    masks: Masks | None = None,
    large: ArraySpec | None = None,
) -> PublishedCycles:
    """Count a network's cycles as the published code of PAIRS and GAROS does, on the plan's array.

    Dense layers, pruned ones and those that lost channels are counted by their formula. Of low-rank pairs
    there is no code: both stages get the window of the dense layer, and tiles that hold nothing cost
    nothing. Layers of other kinds, such as windows, are mapped as ever, on the plane without padding.

    Args:
        network: the network.
        plan: what every layer becomes; its array is the one that is counted for, whole weights in its cells.
        masks: the weights that pattern-pruned layers keep; None: those of the plan.
        large: the array that windows are found for; None: `large_array`.

    Raises:
        InputError: no layer counts, a mask or a support is missing, or a layer cannot be mapped so.
    """
    if masks is None:
        masks = plan.masks
    searched = large_array(network)
    if large is not None:
        searched = ArraySpec(large.rows, large.columns)
    array = ArraySpec(plan.array.rows, plan.array.columns)
    layers = []
    for shape in network.layers:
        if not is_counted(shape):
            continue
        entry = plan.layer(shape.weight)
        mask = masks.get(shape.weight)
        count = cost_of(entry.kind).published(shape.without_padding(), array, searched, entry, mask)
        layers.append((shape, count))
    return PublishedCycles(network.name, array, searched, tuple(layers), len(network.layers))
