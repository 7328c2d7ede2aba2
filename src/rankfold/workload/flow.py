"""`Flow`: whose outputs each layer of a network reads, and where several feature maps become one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rankfold.workload.shape import ConvShape, Pair

INPUT = "input"  # what the network is called with


@dataclass(frozen=True)
class Join:
    """Feature maps that become one: a residual sum, a concatenation, a product such as that of a gate.

    Attributes:
        name: after the source that is made last, which no layer and no other join has.
        sources: layers, joins or `INPUT`, each once, in the order in which they are made.
        values: numbers that are read of each source for an image.
        made: numbers that it makes.
        plane: (H, W) of what it makes; a vector has (1, 1), N tokens (N, 1).
        whole: whether each of its values takes all of the sources, as a product of two matrices does; else it
            takes what is in its own place.
    """

    name: str
    sources: tuple[str, ...]
    values: tuple[int, ...]
    made: int
    plane: Pair
    whole: bool = False


@dataclass(frozen=True)
class Flow:
    """What feature maps go where.

    Elementwise functions, norms, pooling and reshaping belong to what they read; only where a value is
    computed from several feature maps is there a `Join`.

    Attributes:
        reads: of each layer of the network, in its order: the layer or join that it reads, or `INPUT`.
        joins: in the order in which they are made.
    """

    reads: tuple[str, ...]
    joins: tuple[Join, ...] = ()


class FlowRecorder:
    """Notes, in the order of the network, what its layers read and what is joined."""

    def __init__(self) -> None:
        self._reads: dict[str, str] = {}
        self._joins: dict[str, Join] = {}
        # When each was made; what is made later has the larger number.
        self._order: dict[str, int] = {INPUT: 0}

    def layer(self, name: str, source: str) -> None:
        """A layer runs on what `source` made."""
        self._reads[name] = source
        self._order[name] = len(self._order)

    def join(self, parts: Iterable[tuple[str, int]], made: int, plane: Pair, whole: bool = False) -> str:
        """Several (source, numbers of it) become one; returns what is read by those who read it.

        Parts of one source are no join. For the arguments see `Join`.
        """
        values: dict[str, int] = {}
        for source, numbers in parts:
            values[source] = values.get(source, 0) + numbers
        sources = sorted(values, key=self._order.__getitem__)
        if len(sources) == 1:
            return sources[0]
        name = self._free_name(f"{sources[-1].split(':')[0]}:join")
        numbers_of = tuple(values[source] for source in sources)
        self._joins[name] = Join(name, tuple(sources), numbers_of, made, plane, whole)
        self._order[name] = len(self._order)
        return name

    def flow(self, layers: Sequence[ConvShape]) -> Flow:
        """Of a network with these layers."""
        reads = tuple(self._reads[layer.name] for layer in layers)
        needed = _needed(reads, self._joins)
        return Flow(reads, tuple(join for join in self._joins.values() if join.name in needed))

    def _free_name(self, name: str) -> str:
        free, number = name, 1
        while free in self._order:
            number += 1
            free = f"{name}#{number}"
        return free


def _needed(reads: Iterable[str], joins: dict[str, Join]) -> set[str]:
    """The joins that layers read, directly or through others: what only outputs read is left out."""
    needed: set[str] = set()
    waiting = list(reads)
    while waiting:
        name = waiting.pop()
        if name in joins and name not in needed:
            needed.add(name)
            waiting.extend(joins[name].sources)
    return needed


def chain(layers: Sequence[ConvShape]) -> Flow:
    """Each layer reads the one before it."""
    names = [layer.name for layer in layers]
    return Flow((INPUT, *names[:-1]))


def plane_of(sizes: Sequence[int]) -> Pair:
    """(H, W) of (B, C, H, W), (N, 1) of the N tokens of (B, ..., N, features), (1, 1) of anything else."""
    if len(sizes) == 4:
        return int(sizes[2]), int(sizes[3])
    return math.prod(int(size) for size in sizes[1:-1]), 1
