"""Pruning: some positions of every kernel stay, by patterns or for the output on data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rankfold.arguments import TEXT, WHOLE, check_fields
from rankfold.errors import InputError
from rankfold.plan.kinds import (
    PLAIN,
    SUPPORT,
    DenseLayer,
    LayerKind,
    PairsLayer,
    PatDNNLayer,
    SupportLayer,
)
from rankfold.plan.methods.method import Method
from rankfold.plan.methods.setting import ENTRIES, POSITIVE, Setting
from rankfold.plan.support import check_entries
from rankfold.pruning import PAIRS, PATDNN
from rankfold.workload import ConvShape, Network

BLOCK = Setting(
    "block",
    "block",
    int,
    POSITIVE,
    help="output channels that share a pattern under pairs (default: all)",
    example="16",
)


@dataclass(frozen=True)
class _Pruning(Method):
    """What the methods that keep e positions of every kernel have in common.

    Attributes:
        entries: e; layers whose kernels have no more positions stay as they are.
        steering: how rows are counted, `plain` or `ideal` (see `PatternLayer`).
    """

    settings: ClassVar[tuple[Setting, ...]] = (ENTRIES,)
    flags: ClassVar[tuple[str, ...]] = ("steering",)

    entries: int
    steering: str = PLAIN

    def __post_init__(self) -> None:
        check_fields(self, entries=WHOLE, steering=TEXT)
        if self.entries < 1:
            raise InputError(f"entries (={self.entries}) must be 1 or more")
        self._kind()  # refuses what no layer can have

    def _kind(self) -> LayerKind:
        raise NotImplementedError

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """The pruned layer; dense where the kernel has no more positions."""
        positions = shape.kernel[0] * shape.kernel[1]
        if self.entries >= positions:
            return DenseLayer(), f"its kernel has only {positions} positions"
        check_entries(shape, self.entries)
        return self._kind(), f"{self.title}, {self.entries} of {positions} positions"

    def check_changes(self, network: Network, kinds: dict[str, LayerKind], example: str) -> None:
        """Refuse a plan in which no layer is pruned."""
        if not any(kind.changes_weight for kind in kinds.values()):
            raise InputError(
                f"entries (={self.entries}) prune no layer of {network.name}: they must be fewer than a "
                "kernel has positions"
            )


@dataclass(frozen=True)
class PatDNN(_Pruning):
    """Every kernel keeps e positions by a pattern of its own, out of one library (Niu et al., ASPLOS
    2020).
    """

    name: ClassVar[str] = PATDNN
    title: ClassVar[str] = "PatDNN"
    help: ClassVar[str] = "a pattern for each kernel, with --entries"
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (PatDNNLayer,)

    def _kind(self) -> LayerKind:
        return PatDNNLayer(self.entries, self.steering)


@dataclass(frozen=True)
class Pairs(_Pruning):
    """All kernels of an input channel keep the same e positions (PAIRS, Rhe et al., 2023).

    Attributes:
        block: output channels that share a pattern; None: all of a group.
    """

    name: ClassVar[str] = PAIRS
    title: ClassVar[str] = "PAIRS"
    help: ClassVar[str] = "a pattern for each input channel, with --entries"
    settings: ClassVar[tuple[Setting, ...]] = (ENTRIES, BLOCK)
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (PairsLayer,)

    block: int | None = None

    def _kind(self) -> LayerKind:
        return PairsLayer(self.entries, self.steering, self.block)


@dataclass(frozen=True)
class SharedSupport(_Pruning):
    """All kernels of an input channel keep the same e positions, chosen for the layer's output on data."""

    name: ClassVar[str] = SUPPORT
    title: ClassVar[str] = "shared support"
    help: ClassVar[str] = "kernel positions that all outputs share, with --entries"
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (SupportLayer,)

    def _kind(self) -> LayerKind:
        return SupportLayer(self.entries, self.steering)
