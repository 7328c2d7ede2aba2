"""`FrontView`: a Pareto front with all that its pictures and tables say beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankfold.errors import InputError
from rankfold.machine import DEFAULT_HARDWARE
from rankfold.mapping import ArraySpec
from rankfold.plan.prediction import NATS
from rankfold.planning.exact import (
    AREA,
    ARRAY_CYCLES,
    ARRAYS,
    CONVERSIONS,
    CYCLES,
    ENERGY,
    INTERVAL,
    LATENCY,
    LOSS,
    WEIGHTS,
    Candidate,
    Front,
    in_units,
    total,
)
from rankfold.planning.exact.candidate import has_other_bits, in_letters
from rankfold.planning.exact.quantities import KNOWN
from rankfold.report.charts.drawing import round_numbers
from rankfold.report.kinds import families, family_of
from rankfold.report.numbers import GAP, precision_in_words, size
from rankfold.report.palette import GREY, VERMILION

# A quantity in words, behind its amount where it has no unit.
WORDS = {
    CYCLES: "cycles per image",
    ARRAYS: "arrays",
    ENERGY: "energy per image",
    ARRAY_CYCLES: "array cycles per image",
    CONVERSIONS: "ADC conversions per image",
    LATENCY: "latency of an image",
    INTERVAL: "interval between images",
    AREA: "area of the arrays",
    WEIGHTS: "weights stored",
}
# Points drawn of a front; a line has no more pixels.
MOST_POINTS = 400
# Points that get a large mark each.
FEW_POINTS = 60
# Of loss; less than 1e-5 of the largest says nothing.
MOST_DECADES = 5
# Where an axis starts if no point loses anything.
NO_LOSS = 1e-3
# A cost that equals a limit but for its rounding is within it.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Mark:
    """How a network beside the front is drawn: its name, symbol (`diamond` or `circle`) and colour."""

    name: str
    symbol: str
    colour: str


DENSE = Mark("dense network", "diamond", GREY[1])
CHOSEN = Mark("chosen plan", "circle", VERMILION[0])


@dataclass(frozen=True)
class FrontView:
    """A front and the networks it is compared with.

    Attributes:
        front: all best trades.
        dense: every layer kept as it is.
        chosen: every layer of the plan that was made, if one was.
        setting: network, array and bits in words.
        hardware: the name of what energy is counted for.
        unit: of losses.
    """

    front: Front
    dense: tuple[Candidate, ...]
    chosen: tuple[Candidate, ...] | None = None
    setting: str = ""
    hardware: str = DEFAULT_HARDWARE.name
    unit: str = NATS

    @property
    def axis_of_loss(self) -> tuple[str, str]:
        """What the axis of losses says, in two lines."""
        return "predicted increase of the loss,", f"{self.unit} per image"

    def __post_init__(self) -> None:
        for network in self.networks:
            names = tuple(candidate.entry.name for candidate in network)
            if names != self.names:
                raise ValueError(
                    "front, dense network and chosen plan must have the same layers in the same order"
                )

    @property
    def networks(self) -> tuple[tuple[Candidate, ...], ...]:
        """What the front is compared with: the dense network, and the plan that was made, if one was."""
        if self.chosen is None:
            return (self.dense,)
        return self.dense, self.chosen

    @property
    def names(self) -> tuple[str, ...]:
        """The layers' names, in the network's order."""
        return tuple(layer[0].entry.name for layer in self.front.choices)

    @cached_property
    def structures(self) -> tuple[tuple[str, ...], ...]:
        """What each candidate of each layer makes of it, in a few letters."""
        structures = []
        for layer, dense in zip(self.front.choices, self.dense, strict=True):
            words = tuple(in_letters(candidate, dense) for candidate in layer)
            structures.append(words)
        return tuple(structures)

    @cached_property
    def open_layers(self) -> tuple[int, ...]:
        """Indices of the layers that are not dense, at their own bits, everywhere on the front."""
        changing = []
        for index, (layer, dense) in enumerate(zip(self.front.choices, self.dense, strict=True)):
            # Of the candidates, only those that any point of the front has.
            picked = [layer[pick] for pick in np.unique(self.front.picks[:, index])]
            if any(one.entry.kind.changes_weight or has_other_bits(one, dense) for one in picked):
                changing.append(index)
        return tuple(changing)

    @cached_property
    def dense_cost(self) -> float:
        """What the dense network costs, in the front's quantity."""
        return total(self.dense, self.front.quantity)

    @property
    def told(self) -> tuple[str, ...]:
        """The quantities that are told of every point: cycles, arrays, energy where it was counted for every
        candidate, and what the front trades.
        """
        told = [CYCLES, ARRAYS]
        if all(_has_energy(layer) for layer in self.front.choices):
            told.append(ENERGY)
        return tuple(dict.fromkeys([*told, self.front.quantity]))

    def share(self, cost: float) -> float:
        """A cost as a share of the dense network's."""
        # Where nothing counts, nothing is saved.
        if not self.dense_cost:
            return 1.0
        return cost / self.dense_cost

    def sums(self, network: Sequence[Candidate]) -> list[str]:
        """What a network costs and is foreseen to lose, one statement each."""
        costs = []
        for quantity in self.told:
            if quantity == ENERGY and not _has_energy(network):
                continue
            amount = total(network, quantity)
            words = in_units(quantity, amount)
            if quantity == self.front.quantity:
                words += f" ({100 * self.share(amount):.1f}{GAP}% of dense)"
            costs.append(words)
        return [
            *costs,
            f"predicted loss +{total(network, LOSS):.3g} {self.unit}",
        ]

    def families(self, network: Sequence[Candidate]) -> tuple[int, ...]:
        """How many layers are of each of `report.kinds.families`."""
        counts: Counter[str] = Counter()
        for candidate in network:
            counts[family_of(candidate.entry.kind)] += 1
        return tuple(counts[family] for family in families())

    def within(self, share: float) -> int | None:
        """The best point that costs at most a share of the dense network, or None."""
        limit = share * self.dense_cost * (1 + ROUNDING)
        # Costs rise along the front, and losses fall.
        affordable = int(np.searchsorted(self.front.costs, limit, side="right"))
        if affordable == 0:
            return None
        return affordable - 1


def setting_in_words(network: str, array: ArraySpec, dense: Sequence[Candidate]) -> str:
    """Network, array and bits: `resnet20 on 64×64 arrays at 4 bits`."""
    bits = precision_in_words((candidate.entry.weight_bits, candidate.weights) for candidate in dense)
    return f"{network} on {size((array.rows, array.columns))} arrays {bits}"


def amounts(quantity: str, costs: np.ndarray | float) -> np.ndarray:
    """Costs in the unit in which they are shown."""
    return np.asarray(costs, dtype=float) * KNOWN[quantity].shown(1.0)


def axis(quantity: str) -> str:
    """The title of an axis of costs."""
    if KNOWN[quantity].counted:
        return WORDS[quantity]
    return f"{WORDS[quantity]}, {KNOWN[quantity].unit}"


def column(quantity: str) -> str:
    """The name of a column of costs in a file."""
    if KNOWN[quantity].counted:
        return quantity
    return f"{quantity}_{KNOWN[quantity].unit.lower()}"


def loss_floor(losses: np.ndarray) -> float:
    """Where a logarithmic axis of losses starts; points that lose less, as the dense network does, are there.

    The least loss above zero, but at most `MOST_DECADES` below the largest.
    """
    # The dense network loses nothing, which has no logarithm.
    lossy = losses[losses > 0]
    if not len(lossy):
        return NO_LOSS
    least = 10.0**-MOST_DECADES * float(lossy.max())
    return max(float(lossy.min()), least)


def loss_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two losses, or finer ticks where these are few."""
    first = math.ceil(math.log10(low))
    last = math.floor(math.log10(high))
    powers = [10.0**power for power in range(first, last + 1)]
    if len(powers) < 3:
        return round_numbers(low, high, most=7)
    return powers


def checked(front: Front) -> Front:
    """The front, if a picture of it can be drawn.

    Raises:
        InputError: a point costs nothing, which a logarithmic axis has no place for.
    """
    if front.costs[0] <= 0:
        raise InputError(
            f"a plan of this front costs no {front.quantity}; draw the front of another quantity"
        )
    return front


def _has_energy(candidates: Sequence[Candidate]) -> bool:
    return all(candidate.energy is not None for candidate in candidates)
