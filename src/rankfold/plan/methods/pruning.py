"""Pruning: some positions of every kernel stay, by patterns or for the output on data."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

from rankfold.arguments import TEXT, WHOLE, check_fields
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.mapping.published import published_window
from rankfold.plan.kinds import (
    PLAIN,
    PUBLISHED_KERNEL,
    SUPPORT,
    DenseLayer,
    GarosLayer,
    LayerKind,
    Pairs2023Layer,
    Pairs2024Layer,
    PairsLayer,
    PatDNNChannelLayer,
    PatDNNLayer,
    PatDNNWholeLayer,
    SupportLayer,
)
from rankfold.plan.methods.method import Method
from rankfold.plan.methods.setting import ENTRIES, POSITIVE, Setting
from rankfold.plan.support import check_entries
from rankfold.pruning import GAROS, PAIRS, PAIRS_2023, PAIRS_2024, PATDNN, PATDNN_CHANNEL, PATDNN_LAYER
from rankfold.workload import ConvShape, Network

BLOCK = Setting(
    "block",
    "block",
    int,
    POSITIVE,
    help="output channels that share a pattern under pairs (default: all)",
    example="16",
)

WINDOWS_FOR = Setting(
    "windows_for",
    "w",
    str,
    {"type": "string"},
    help="array that the windows of garos are found for (default 512x256)",
    example="2048x1024",
    sign="RxC",
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

    @abstractmethod
    def _kind(self) -> LayerKind:
        """What becomes of a layer."""

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
            kept = [shape for shape in network.convolutions if math.prod(shape.kernel) > self.entries]
            remedy = "they must be fewer than a kernel has positions"
            if kept:
                names = ", ".join(shape.name for shape in kept)
                remedy = f"what has kernels of more positions ({names}) stays dense"
            raise InputError(f"entries (={self.entries}) prune no layer of {network.name}: {remedy}")


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
class PatDNNByChannel(_Pruning):
    """All kernels of an input channel keep one natural pattern: PatDNN in the code of PAIRS (2023)."""

    name: ClassVar[str] = PATDNN_CHANNEL
    title: ClassVar[str] = "PatDNN by channel"
    help: ClassVar[str] = "a natural pattern for each input channel, as published with PAIRS, with --entries"
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (PatDNNChannelLayer,)

    def _kind(self) -> LayerKind:
        return PatDNNChannelLayer(self.entries, self.steering)


@dataclass(frozen=True)
class PatDNNByLayer(_Pruning):
    """All kernels of a layer keep one natural pattern: PatDNN in the code of GAROS (2024)."""

    name: ClassVar[str] = PATDNN_LAYER
    title: ClassVar[str] = "PatDNN by layer"
    help: ClassVar[str] = "a natural pattern for each layer, as published with GAROS, with --entries"
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (PatDNNWholeLayer,)

    def _kind(self) -> LayerKind:
        return PatDNNWholeLayer(self.entries, self.steering)


@dataclass(frozen=True)
class Pairs(_Pruning):
    """All kernels of an input channel keep the same e positions, freely chosen: stronger than PAIRS (Rhe et
    al., 2023), whose patterns are of a fixed library (`Pairs2023`, `Pairs2024`).

    Attributes:
        block: output channels that share a pattern; None: all of a group.
    """

    name: ClassVar[str] = PAIRS
    title: ClassVar[str] = "PAIRS (free)"
    help: ClassVar[str] = "the best positions of each input channel, freely chosen, with --entries"
    settings: ClassVar[tuple[Setting, ...]] = (ENTRIES, BLOCK)
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (PairsLayer,)

    block: int | None = None

    def _kind(self) -> LayerKind:
        return PairsLayer(self.entries, self.steering, self.block)


@dataclass(frozen=True)
class _PublishedPairs(_Pruning):
    """What the published forms of PAIRS have in common: a fixed library for 3x3 kernels."""

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """The pruned layer; dense where the library has no patterns of its kernel."""
        if shape.kernel != PUBLISHED_KERNEL:
            return DenseLayer(), f"{self.title} has patterns of 3x3 kernels only"
        return super().layer(shape)


@dataclass(frozen=True)
class Pairs2023(_PublishedPairs):
    """All kernels of an input channel keep one pattern of the published library (Rhe et al., ISLPED 2023)."""

    name: ClassVar[str] = PAIRS_2023
    title: ClassVar[str] = "PAIRS 2023"
    help: ClassVar[str] = "a published pattern for each input channel, with --entries"
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (Pairs2023Layer,)

    def _kind(self) -> LayerKind:
        return Pairs2023Layer(self.entries, self.steering)


@dataclass(frozen=True)
class Pairs2024(_PublishedPairs):
    """All kernels of a layer keep one pattern of the published library: PAIRS in the code of GAROS (2024)."""

    name: ClassVar[str] = PAIRS_2024
    title: ClassVar[str] = "PAIRS 2024"
    help: ClassVar[str] = "a published pattern for each layer, with --entries"
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (Pairs2024Layer,)

    def _kind(self) -> LayerKind:
        return Pairs2024Layer(self.entries, self.steering)


@dataclass(frozen=True)
class Garos(_PublishedPairs):
    """Patterns of several sizes in one layer, within the rows that PAIRS drives with e positions under the
    published window (GAROS, Rhe et al., 2025; chosen exactly instead of by a genetic algorithm).

    Attributes:
        windows_for: R x C of the array that windows are found for, as in the published reading.
    """

    name: ClassVar[str] = GAROS
    title: ClassVar[str] = "GAROS (exact)"
    help: ClassVar[str] = "published patterns of several sizes in each layer, with --entries"
    settings: ClassVar[tuple[Setting, ...]] = (ENTRIES, WINDOWS_FOR)
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (GarosLayer,)

    windows_for: str = "512x256"

    def __post_init__(self) -> None:
        check_fields(self, windows_for=TEXT)
        self._large_array()  # refuses what is none
        super().__post_init__()

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """The pruned layer, for the window that it would get."""
        kind, reason = super().layer(shape)
        if not isinstance(kind, GarosLayer):
            return kind, reason
        side = 1
        # Without padding, which windows are found without, a smaller plane has no output.
        if all(size >= span for size, span in zip(shape.input, shape.extent, strict=True)):
            side, _ = published_window(shape, self._large_array())
        return replace(kind, side=side), f"{self.title}, within the rows of {self.entries} of 9 positions"

    def _large_array(self) -> ArraySpec:
        return ArraySpec.parse(self.windows_for, "windows_for")

    def _kind(self) -> LayerKind:
        return GarosLayer(self.entries, self.steering)


@dataclass(frozen=True)
class SharedSupport(_Pruning):
    """All kernels of an input channel keep the same e positions, chosen for the layer's output on data."""

    name: ClassVar[str] = SUPPORT
    title: ClassVar[str] = "shared support"
    help: ClassVar[str] = "kernel positions that all outputs share, with --entries"
    kinds: ClassVar[tuple[type[LayerKind], ...]] = (SupportLayer,)

    def _kind(self) -> LayerKind:
        return SupportLayer(self.entries, self.steering)
