"""`Candidate`: one thing that a layer may become, with what it costs and what it is predicted to lose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rankfold.errors import InputError
from rankfold.plan import DENSE, LOW_RANK, LayerPlan
from rankfold.workload import ConvShape

QUANTITIES = CYCLES, ARRAYS, ENERGY = "cycles", "arrays", "energy"
LOSS = "loss"


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
    """

    entry: LayerPlan
    cycles: int
    arrays: int
    energy: float | None
    weights: int
    loss: float = 0.0

    def cost(self, quantity: str) -> float:
        """The amount of one of `QUANTITIES`, or the loss.

        Raises:
            InputError: it is the energy, and that was not counted.
        """
        value: float | None = getattr(self, quantity)
        if value is None:
            raise InputError(f"layer {self.entry.name}: its {quantity} was not counted, and no budget can be kept on it")
        return value


@dataclass(frozen=True)
class LayerChoices:
    """What one layer may become.

    Attributes:
        shape: the layer.
        dense: the layer kept as it is with its best mapping, which savings are measured against.
        candidates: what may be chosen, at least one.
        why_dense: why it can only stay as it is; empty where it can be compressed.
    """

    shape: ConvShape
    dense: Candidate
    candidates: tuple[Candidate, ...]
    why_dense: str = ""

    @property
    def name(self) -> str:
        """The layer's name in the plan."""
        return self.dense.entry.name


def structure_in_words(entry: LayerPlan) -> str:
    """What a layer becomes, in a few letters: `dense`, `g4 r8`, `e4` or `g4 r8 e4`; a shared support has a star."""
    parts = [] if entry.kind != LOW_RANK else [f"g{entry.groups}", f"r{entry.rank}"]
    if entry.entries is not None:
        star = "*" if entry.support is not None and len(set(entry.support.split(" "))) == 1 else ""
        parts.append(f"e{entry.entries}{star}")
    return " ".join(parts) or DENSE


def holds(entry: LayerPlan, other: LayerPlan) -> bool:
    """Whether a layer that becomes `entry` can have every weight that it can have as `other`.

    A dense layer holds any weight; one with a support any weight that is zero outside it; g groups of rank r any weight with
    blocks of rank up to r, also in fewer groups that g is a multiple of, as a part of a block never has a higher rank than the
    block. False where this is not certain: supports that are still open.
    """
    if entry.kind == DENSE:
        return True
    if other.kind == DENSE:
        return False
    known = entry.support is not None and other.support is not None
    if entry.entries is not None and not (known and _within(other.support or "", entry.support or "")):
        return False
    if entry.groups is None or entry.rank is None:
        return True
    if other.groups is None or other.rank is None:
        return False
    return entry.groups % other.groups == 0 and other.rank <= entry.rank


@lru_cache(maxsize=1 << 14)
def _within(inner: str, outer: str) -> bool:
    """Whether one support lies within another; layers ask for the same ones again and again."""
    small, large = _numbers(inner), _numbers(outer)
    return small.shape == large.shape and not np.any(small & ~large)


@lru_cache(maxsize=256)
def _numbers(text: str) -> np.ndarray:
    """(C_in,) the positions of each channel as one number each; Python's where a kernel has more than 62 positions."""
    numbers = [int(word, 16) for word in text.split(" ")]
    return np.array(numbers, dtype=np.int64 if max(numbers) < 1 << 62 else object)
