"""Plans: each layer with a setting of its own, the best that a budget of cycles or energy allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rankfold.arguments import WHOLE, check_fields, shown
from rankfold.errors import InputError
from rankfold.plan.kinds import LayerKind
from rankfold.plan.methods.method import Method
from rankfold.plan.methods.setting import POSITIVE, Setting
from rankfold.workload import ConvShape

# Of other types, too, which YAML makes of them: they are refused in words that say what would be right.
TEXTS: Mapping[str, Any] = {"type": ["string", "number", "array"]}

MAX_CYCLES = Setting(
    "max_cycles", "c", int, POSITIVE, help="the most cycles per image of a plan", example="5440"
)

MAX_ENERGY = Setting(
    "max_energy",
    "energy",
    str,
    TEXTS,
    help="the most energy per image of a plan, with a unit, or a share of the dense network's",
    example="335nJ",
    sign="ENERGY",
)

LAYER_BITS = Setting(
    "layer_bits",
    "bits",
    str,
    TEXTS,
    help="bits that each convolution of a plan may have: 2-8, or 2,4,8, or weights/inputs 2-8/4,8",
    example="2-8",
    sign="BITS",
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
    """The best plan under a budget of cycles, of energy, or of both, as `planning.best_plan` chooses it.

    No setting for all layers, but in grids a row among those that are. The plan takes trained weights and
    images, so that grids make it themselves (`reproduce.planned`).

    Attributes:
        max_cycles: the most cycles, on the grid's array; None: any number.
        max_energy: the most energy, such as `335nJ` or `40%`, on the grid's hardware and array; None: any.
        layer_bits: bits that each convolution may have instead of the cell's, such as `2-8`, as
            `rankfold plan --layer-bits` takes them, within a budget of energy; None: all have the cell's.
        rounding: `counted` where losses count what rounding is predicted to lose (`rankfold plan
            --count-rounding`); None: they are those of changed weights alone.
    """

    name: ClassVar[str] = "planned"
    title: ClassVar[str] = "plan"
    help: ClassVar[str] = "the best plan under a budget of cycles or energy"
    settings: ClassVar[tuple[Setting, ...]] = (MAX_CYCLES, MAX_ENERGY, LAYER_BITS, ROUNDING)
    in_grids_alone: ClassVar[bool] = True

    max_cycles: int | None = None
    max_energy: str | None = None
    layer_bits: str | None = None
    rounding: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, max_cycles=WHOLE.or_none)
        for setting in (MAX_ENERGY, LAYER_BITS):
            _check_text(setting, getattr(self, setting.name))
        if self.max_cycles is None and self.max_energy is None:
            raise InputError("a plan needs a budget: max_cycles, max_energy, or both")
        if self.max_cycles is not None and self.max_cycles < 1:
            raise InputError(f"max_cycles (={self.max_cycles}) must be 1 or more")
        if self.rounding not in (None, COUNTED):
            raise InputError(f"rounding (={shown(self.rounding)}) must be `{COUNTED}`, or not be given")
        if self.layer_bits is not None and self.max_energy is None:
            raise InputError("layer_bits need max_energy, such as 335nJ: more bits cost no cycles")
        if self.rounding is not None and self.layer_bits is not None:
            raise InputError("with layer_bits rounding is counted in any case; omit rounding")

    def layer(self, shape: ConvShape) -> tuple[LayerKind, str]:
        """Refused: what becomes of a layer depends on the others."""
        raise InputError("a plan takes weights and images; make it with best_plan or `rankfold plan`")


def _check_text(setting: Setting, value: object) -> None:
    """Refuse what is no text, and one with spaces, by which one plan would have several names.

    Raises:
        InputError: it is refused.
    """
    if value is None:
        return
    if not isinstance(value, str) or value.split() != [value]:
        raise InputError(
            f"{setting.name} (={shown(value)}) must be a text without spaces, such as {setting.example}"
        )
