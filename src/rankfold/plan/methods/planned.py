"""Plans: each layer with a setting of its own, the best that a budget of cycles allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rankfold.arguments import TEXT, WHOLE, check_fields
from rankfold.errors import InputError
from rankfold.plan.kinds import LayerKind
from rankfold.plan.methods.method import Method
from rankfold.plan.methods.setting import POSITIVE, Setting
from rankfold.workload import ConvShape

MAX_CYCLES = Setting(
    "max_cycles", "c", int, POSITIVE, help="the most cycles per image of a plan", example="5440"
)

LAYER_BITS = Setting(
    "layer_bits",
    "lb",
    str,
    {"type": "string", "pattern": "^(own|[2-8][-,2-8]*(/[2-8][-,2-8]*)?)$"},
    help="bits that each convolution of a plan may have; or `own`, to count what rounding to its own loses",
    example="own",
    sign="BITS",
)


@dataclass(frozen=True, kw_only=True)
class Planned(Method):
    """The best plan under a budget of cycles, as `planning.best_plan` chooses it.

    No setting for all layers, but in grids a row among those that are. The plan takes trained weights and
    images, so that grids make it themselves (`reproduce.planned`).

    Attributes:
        max_cycles: the budget, on the grid's array.
        layer_bits: bits that each convolution may have, or `own` where it keeps its bits and rounding counts
            (`rankfold plan --layer-bits`); None: it keeps them, and rounding does not count.
    """

    name: ClassVar[str] = "planned"
    title: ClassVar[str] = "plan"
    help: ClassVar[str] = "the best plan under a budget of cycles"
    settings: ClassVar[tuple[Setting, ...]] = (MAX_CYCLES, LAYER_BITS)
    in_grids_alone: ClassVar[bool] = True

    max_cycles: int
    layer_bits: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, max_cycles=WHOLE, layer_bits=TEXT.or_none)
        if self.max_cycles < 1:
            raise InputError(f"max_cycles (={self.max_cycles}) must be 1 or more")

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """Refused: what becomes of a layer depends on the others."""
        raise InputError("a plan takes weights and images; make it with best_plan or `rankfold plan`")
