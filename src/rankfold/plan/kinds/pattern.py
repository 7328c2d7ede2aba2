"""Pattern-pruned layers: e positions of every kernel, each kernel its own pattern (PatDNN) or blocks sharing
one (PAIRS), in the strongest form and as the authors of PAIRS published both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rankfold.errors import InputError
from rankfold.mapping import PRUNED_METHODS
from rankfold.plan.kinds.kind import LayerKind
from rankfold.plan.support import check_entries
from rankfold.pruning import (
    GAROS,
    PAIRS,
    PAIRS_2023,
    PAIRS_2024,
    PATDNN,
    PATDNN_CHANNEL,
    PATDNN_LAYER,
    published_library,
)
from rankfold.workload import ConvShape

PATTERN_PRUNED = "pattern-pruned"
PLAIN, IDEAL = STEERINGS = "plain", "ideal"
PUBLISHED_KERNEL = (3, 3)  # of the fixed patterns of PAIRS


@dataclass(frozen=True)
class PatternLayer(LayerKind):
    """What pattern-pruned layers have in common. Which weights they keep is saved with the weights, as masks.

    Attributes:
        entries: e, positions kept of each kernel.
        steering: how rows are counted: `plain` (a row is skipped where nothing in a tile needs it) or `ideal`
            (each column is given inputs of its own).
    """

    name: ClassVar[str] = PATTERN_PRUNED
    mappings: ClassVar[tuple[str, ...]] = PRUNED_METHODS
    # Cycles differ between the two ways of counting, so a file must not leave it to a default.
    needed: ClassVar[tuple[str, ...]] = ("steering",)
    # The plan does not hold the positions, so the base's `holds`, always False, is right here.
    masked: ClassVar[bool] = True
    schema: ClassVar[Mapping[str, Any]] = {
        "entries": {"type": "integer", "minimum": 1},
        "steering": {"enum": list(STEERINGS)},
    }

    entries: int
    steering: str = PLAIN

    def __post_init__(self) -> None:
        if self.steering not in STEERINGS:
            raise InputError(f"steering (={self.steering}) must be {' or '.join(STEERINGS)}")

    def with_steering(self, steering: str) -> LayerKind:
        """The layer with its rows counted so."""
        return replace(self, steering=steering)

    def short(self) -> str:
        """`e4`."""
        return f"e{self.entries}"

    def to_json(self) -> dict[str, Any]:
        """The kind's part of a plan file, in the order that plan files have always had."""
        content = super().to_json()
        content["steering"] = content.pop("steering")  # behind what the kinds of pruning add
        return content

    def check(self, shape: ConvShape) -> None:
        """Refuse a layer that is no convolution, or whose kernel has no more positions."""
        check_entries(shape, self.entries)


@dataclass(frozen=True)
class PatDNNLayer(PatternLayer):
    """Each kernel keeps a pattern of its own, out of one library (Niu et al., ASPLOS 2020)."""

    variant: ClassVar[str | None] = PATDNN


@dataclass(frozen=True)
class PairsLayer(PatternLayer):
    """All kernels of an input channel share free positions, in each block of output channels.

    Attributes:
        block: output channels in a block; None: all of a group.
    """

    variant: ClassVar[str | None] = PAIRS
    schema: ClassVar[Mapping[str, Any]] = {
        **PatternLayer.schema,
        "block": {"type": "integer", "minimum": 1},
    }

    block: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block is not None and self.block < 1:
            raise InputError(f"block (={self.block}) must be 1 or more, and only {PAIRS} has one")


@dataclass(frozen=True)
class PatDNNChannelLayer(PatternLayer):
    """All kernels of an input channel share one natural pattern, as the PatDNN of PAIRS' authors does."""

    variant: ClassVar[str | None] = PATDNN_CHANNEL


@dataclass(frozen=True)
class PatDNNWholeLayer(PatternLayer):
    """All kernels of the layer share one natural pattern, as the PatDNN of PAIRS' authors can do too."""

    variant: ClassVar[str | None] = PATDNN_LAYER


@dataclass(frozen=True)
class PublishedPairsLayer(PatternLayer):
    """What layers of the published PAIRS have in common: patterns out of a fixed library for 3x3 kernels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        published_library(self.entries)  # refuses what it does not have

    def check(self, shape: ConvShape) -> None:
        """Refuse a kernel that the library has no patterns of."""
        super().check(shape)
        if shape.kernel != PUBLISHED_KERNEL:
            raise InputError(f"layer {shape.name}: {self.variant} has patterns of 3x3 kernels only")


@dataclass(frozen=True)
class Pairs2023Layer(PublishedPairsLayer):
    """All kernels of an input channel share one pattern of the library (Rhe et al., ISLPED 2023)."""

    variant: ClassVar[str | None] = PAIRS_2023


@dataclass(frozen=True)
class Pairs2024Layer(PublishedPairsLayer):
    """All kernels of the layer share one pattern of the library (PAIRS in the code of GAROS, 2024)."""

    variant: ClassVar[str | None] = PAIRS_2024


@dataclass(frozen=True)
class GarosLayer(PublishedPairsLayer):
    """Each input channel has a pattern of 1, 2, 4, 6 or 8 positions or stays whole, within the rows of PAIRS.

    GAROS (Rhe et al., 2025), chosen exactly: see `pruning.garos`.

    Attributes:
        entries: e of that PAIRS.
        side: a, outputs along a side of the square window under which rows are counted.
    """

    variant: ClassVar[str | None] = GAROS
    schema: ClassVar[Mapping[str, Any]] = {
        **PatternLayer.schema,
        "side": {"type": "integer", "minimum": 1},
    }

    side: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side < 1:
            raise InputError(f"side (={self.side}) must be 1 or more")
