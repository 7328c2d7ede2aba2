"""`Candidate`: one thing that a layer may become, with what it costs and what it is predicted to lose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from rankfold.errors import InputError
from rankfold.plan import LayerPlan
from rankfold.planning.exact.quantities import KNOWN, spoken
from rankfold.workload import ConvShape

# Not a cost: nothing is saved by losing more. Limits may be on it, too.
LOSS = "loss"


@dataclass(frozen=True)
class Need:
    """What has to be true of another layer where a candidate is chosen.

    Attributes:
        layer: the one that alone reads what this one gives.
        most: how many of these channels it may read at most, in the one order in which it can do without
            them (`planning.channels`); 0: it has to be idle.
    """

    layer: str
    most: int = 0


@dataclass(frozen=True)
class Candidate:
    """One choice for one layer.

    Attributes:
        entry: what the layer becomes, as a plan says it.
        cycles: per image, over all runs of the layer.
        arrays: stored tiles, each on an array of its own.
        energy: pJ per image, over all runs; None where it was not counted.
        weights: weights that are stored.
        loss: predicted increase of the network's loss on one image, in nats.
        array_cycles: activations per image with each slice of the inputs and turn of the rows, on real cells
            and DACs; None, as those below, where it was not counted.
        conversions: columns that ADCs convert per image.
        latency: us per image, one stage and one run after another.
        interval: us that its busiest stage takes for an image, over all runs.
        area: mm2 of its arrays with their converters.
        channels: how many of its input channels it reads, the first ones of that order; None: all.
        needs: what has to be true of another layer where this is chosen; None: nothing.
    """

    entry: LayerPlan
    cycles: int
    arrays: int
    energy: float | None
    weights: int
    loss: float = 0.0
    _: KW_ONLY
    array_cycles: int | None = None
    conversions: int | None = None
    latency: float | None = None
    interval: float | None = None
    area: float | None = None
    channels: int | None = None
    needs: Need | None = None

    @property
    def needed_layer(self) -> str:
        """The layer that it needs something of; empty: none."""
        return "" if self.needs is None else self.needs.layer

    @property
    def needed_most(self) -> float:
        """The most channels that this layer may read; infinite where none is needed."""
        return math.inf if self.needs is None else self.needs.most

    @property
    def idle(self) -> bool:
        """Whether the layer gives the same whatever it reads."""
        return not self.entry.kind.computes

    @property
    def reads(self) -> float:
        """How many channels it reads, as `Need` counts them: none where it is idle, else infinitely many
        for all.
        """
        if self.idle:
            return 0
        return math.inf if self.channels is None else self.channels

    def cost(self, quantity: str) -> float:
        """The amount of one of `QUANTITIES`, or the loss.

        Raises:
            InputError: it was not counted.
        """
        # The quantities are named as the fields are.
        value: float | None = getattr(self, quantity)
        if value is None:
            raise InputError(
                f"layer {self.entry.name}: its {spoken(quantity)} was not counted, and no budget can be kept "
                "on it"
            )
        return value


Candidates = Sequence[Candidate]  # of one layer, or the chosen ones of all
Choices = Sequence[Candidates]  # the candidates of each layer


@dataclass(frozen=True)
class LayerChoices:
    """What one layer may become.

    Attributes:
        shape: the layer.
        dense: the layer kept as it is with its best mapping, which savings are measured against.
        candidates: what may be chosen, at least one.
        why_dense: why it can only stay as it is; empty where it can be compressed.
        why_bits: why it keeps its bits where other layers may have others; empty where it may, too.
    """

    shape: ConvShape
    dense: Candidate
    candidates: tuple[Candidate, ...]
    why_dense: str = ""
    why_bits: str = ""

    @property
    def name(self) -> str:
        """The layer's name in the plan."""
        return self.dense.entry.name

    @property
    def offers_bits(self) -> bool:
        """Whether it may have other bits than its own."""
        return any(has_other_bits(candidate, self.dense) for candidate in self.candidates)


def has_other_bits(chosen: Candidate, dense: Candidate) -> bool:
    """Whether a layer has other bits of weights or inputs than the dense network."""
    return bits_in_letters(chosen) != bits_in_letters(dense)


def bits_in_letters(chosen: Candidate) -> str:
    """Bits of weights/inputs, such as `4/4`."""
    return f"{chosen.entry.weight_bits or 'float'}/{chosen.entry.input_bits or 'float'}"


def in_letters(chosen: Candidate, dense: Candidate) -> str:
    """What a layer becomes, in a few letters, and its bits where they are other ones: `w2x2 r64 3/4b`."""
    words = chosen.entry.kind.short()
    if has_other_bits(chosen, dense):
        words += f" {bits_in_letters(chosen)}b"
    return words


def total(chosen: Candidates, quantity: str) -> float:
    """What all layers cost together: the sum of one quantity, rounded once, or the largest of them."""
    amounts = [candidate.cost(quantity) for candidate in chosen]
    if is_largest(quantity):
        return max(amounts)
    # Not a plain sum: budgets are compared with it to the last digits.
    return math.fsum(amounts)


def is_largest(quantity: str) -> bool:
    """Whether a network costs as much as its most expensive layer: of the interval, with layers pipelined."""
    return quantity in KNOWN and KNOWN[quantity].largest
