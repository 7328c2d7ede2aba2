"""`FrontView`: a Pareto front with all that its pictures and tables say beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import DENSE, LOW_RANK
from rankfold.planning.exact import ARRAYS, CYCLES, ENERGY, LOSS, Candidate, Front, structure_in_words, total
from rankfold.report.charts.drawing import round_numbers
from rankfold.report.facts import GAP, precision_in_words, size

AXES = {CYCLES: "cycles per image", ARRAYS: "arrays", ENERGY: "energy per image, nJ"}
FAMILIES = DENSE_LAYERS, LOW_RANK_LAYERS, SUPPORT_LAYERS, BOTH_LAYERS = "dense", "low-rank", "support", "both"
MOST_DECADES = 5  # of loss; less than 1e-5 of the largest says nothing
NO_LOSS = 1e-3  # where an axis starts if no point loses anything


@dataclass(frozen=True)
class FrontView:
    """A front and the networks it is compared with.

    Attributes:
        front: all best trades.
        dense: every layer kept as it is.
        chosen: every layer of the plan that was made, if one was.
        setting: network, array and bits in words.
    """

    front: Front
    dense: tuple[Candidate, ...]
    chosen: tuple[Candidate, ...] | None = None
    setting: str = ""

    def __post_init__(self) -> None:
        names = self.names
        for given in (self.dense, self.chosen):
            if given is not None and tuple(candidate.entry.name for candidate in given) != names:
                raise ValueError("front, dense network and chosen plan must have the same layers in the same order")

    @property
    def names(self) -> tuple[str, ...]:
        """The layers' names, in the network's order."""
        return tuple(layer[0].entry.name for layer in self.front.choices)

    @cached_property
    def structures(self) -> tuple[tuple[str, ...], ...]:
        """What each candidate of each layer makes of it, in a few letters."""
        return tuple(tuple(structure_in_words(candidate.entry) for candidate in layer) for layer in self.front.choices)

    @cached_property
    def open_layers(self) -> tuple[int, ...]:
        """Indices of the layers that are not dense everywhere on the front."""
        found = []
        for index, (layer, picks) in enumerate(zip(self.front.choices, self.front.picks.T, strict=True)):
            if any(layer[pick].entry.kind != DENSE for pick in np.unique(picks)):
                found.append(index)
        return tuple(found)

    @property
    def dense_cost(self) -> float:
        """What the dense network costs, in the front's quantity."""
        return total(self.dense, self.front.quantity)

    @property
    def has_energy(self) -> bool:
        """Whether energy was counted for every candidate."""
        return all(candidate.energy is not None for layer in self.front.choices for candidate in layer)

    def share(self, cost: float) -> float:
        """A cost as a share of the dense network's."""
        return cost / self.dense_cost if self.dense_cost else 1.0

    def sums(self, chosen: Sequence[Candidate]) -> list[str]:
        """What a network costs and is foreseen to lose, one statement each."""
        quantity = self.front.quantity
        of = f" ({100 * self.share(total(chosen, quantity)):.1f}{GAP}% of dense)"
        found = []
        for name, words in ((CYCLES, "cycles"), (ARRAYS, "arrays")):
            found.append(f"{total(chosen, name):,.0f} {words}{of if name == quantity else ''}")
        if all(candidate.energy is not None for candidate in chosen):
            found.append(f"{1e-3 * total(chosen, ENERGY):,.1f} nJ{of if quantity == ENERGY else ''}")
        return [*found, f"predicted loss +{total(chosen, LOSS):.3g} nats"]

    def families(self, chosen: Sequence[Candidate]) -> tuple[int, ...]:
        """How many layers are of each of `FAMILIES`."""
        counts = Counter(_family(candidate) for candidate in chosen)
        return tuple(counts[family] for family in FAMILIES)

    def within(self, share: float) -> int | None:
        """The best point that costs at most a share of the dense network, or None."""
        found = int(np.searchsorted(self.front.costs, share * self.dense_cost * (1 + 1e-9), side="right")) - 1
        return found if found >= 0 else None


def setting_in_words(network: str, array: ArraySpec, dense: Sequence[Candidate]) -> str:
    """Network, array and bits: `resnet20 on 64×64 arrays at 4 bits`."""
    bits = precision_in_words((candidate.entry.weight_bits, candidate.weights) for candidate in dense)
    return f"{network} on {size((array.rows, array.columns))} arrays {bits}"


def amounts(quantity: str, costs: np.ndarray | float) -> np.ndarray:
    """Costs in the units of `AXES`."""
    return np.asarray(costs, dtype=float) * (1e-3 if quantity == ENERGY else 1.0)


def loss_floor(losses: np.ndarray) -> float:
    """Where a logarithmic axis of losses starts: points that lose less, as the dense network does, are drawn there.

    The least loss above zero, but at most `MOST_DECADES` below the largest.
    """
    lossy = losses[losses > 0]
    if not len(lossy):
        return NO_LOSS
    return max(float(lossy.min()), 10.0**-MOST_DECADES * float(lossy.max()))


def loss_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two losses, or finer ticks where these are few."""
    powers = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    return powers if len(powers) >= 3 else round_numbers(low, high, most=7)


def checked(front: Front) -> Front:
    """The front, if a picture of it can be drawn.

    Raises:
        InputError: a point costs nothing, which a logarithmic axis has no place for.
    """
    if front.costs[0] <= 0:
        raise InputError(f"a plan of this front costs no {front.quantity}; draw the front of another quantity")
    return front


def _family(candidate: Candidate) -> str:
    if candidate.entry.kind == DENSE:
        return DENSE_LAYERS
    if candidate.entry.kind == LOW_RANK:
        return LOW_RANK_LAYERS if candidate.entry.entries is None else BOTH_LAYERS
    return SUPPORT_LAYERS
