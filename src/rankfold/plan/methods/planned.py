"""Plans: each layer with a setting of its own, the best that a budget of cycles allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rankfold.arguments import WHOLE, check_fields, shown
from rankfold.errors import InputError
from rankfold.plan.kinds import LayerKind
from rankfold.plan.methods.method import Method
from rankfold.plan.methods.setting import POSITIVE, Setting
from rankfold.workload import ConvShape

MAX_CYCLES = Setting(
    "max_cycles", "c", int, POSITIVE, help="the most cycles per image of a plan", example="5440"
)

COUNTED = "counted"
ROUNDING = Setting(
    "rounding",
    "rounding",
    str,
    {"enum": [COUNTED]},
    help="`counted`: a plan's losses count what rounding to its bits is predicted to lose",
    example=COUNTED,
    sign="WORD",
)


@dataclass(frozen=True, kw_only=True)
class Planned(Method):
    """The best plan under a budget of cycles, as `planning.best_plan` chooses it.

    No setting for all layers, but in grids a row among those that are. The plan takes trained weights and
    images, so that grids make it themselves (`reproduce.planned`).

    Attributes:
        max_cycles: the budget, on the grid's array.
        rounding: `counted` where losses count what rounding is predicted to lose (`rankfold plan
            --count-rounding`); None: they are those of changed weights alone.
    """

    name: ClassVar[str] = "planned"
    title: ClassVar[str] = "plan"
    help: ClassVar[str] = "the best plan under a budget of cycles"
    settings: ClassVar[tuple[Setting, ...]] = (MAX_CYCLES, ROUNDING)
    in_grids_alone: ClassVar[bool] = True

    max_cycles: int
    rounding: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, max_cycles=WHOLE)
        if self.max_cycles < 1:
            raise InputError(f"max_cycles (={self.max_cycles}) must be 1 or more")
        if self.rounding not in (None, COUNTED):
            raise InputError(f"rounding (={shown(self.rounding)}) must be `{COUNTED}`, or not be given")

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """Refused: what becomes of a layer depends on the others."""
        raise InputError("a plan takes weights and images; make it with best_plan or `rankfold plan`")
