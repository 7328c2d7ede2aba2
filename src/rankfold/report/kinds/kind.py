"""`KindPicture`: what pictures, tables and colours say of a kind of layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from rankfold.plan.kinds import LayerKind, part_of
from rankfold.report.methods import RunMethod
from rankfold.workload import ConvShape

# What this step is called where kinds are registered.
STEP = "picture"
# The columns in which tables of fronts count layers.
FAMILIES = DENSE, LOW_RANK, SUPPORT, BOTH = (
    "dense",
    "low-rank",
    "support",
    "both",
)


@dataclass(frozen=True)
class PanelWords:
    """What the picture of a layer on its arrays says above the arrays.

    Attributes:
        name: of the kind, such as `Group low-rank`.
        meaning: what it does, in a few words.
    """

    name: str
    meaning: str


class KindPicture(ABC):
    """What is said of layers of one kind.

    Attributes:
        family: which of `FAMILIES` its layers are counted in.
        counts_steering: whether its cycles are told with ideal steering of inputs, too.
    """

    family: ClassVar[str]
    counts_steering: ClassVar[bool] = False

    def family_of(self, kind: LayerKind) -> str:
        """Which of `FAMILIES` a layer is counted in."""
        return self.family

    @abstractmethod
    def method(self, kind: LayerKind) -> RunMethod | None:
        """What a run did that made its layers so; None: nothing."""

    def panel_words(self, kind: LayerKind, shape: ConvShape) -> PanelWords | None:
        """What a picture of the layer says.

        Args:
            kind: what it became.
            shape: what it was.

        Returns:
            The words; None where those of the mapping say it all.
        """
        return None

    def needs_saved_mask(self, kind: LayerKind) -> bool:
        """Whether only the mask that is saved with the weights says which of them are kept."""
        return False


def picture_of(kind: LayerKind | type[LayerKind]) -> KindPicture:
    """What is said of a kind.

    Raises:
        InputError: it is not registered.
    """
    return part_of(kind, STEP, KindPicture)  # type: ignore[type-abstract]


def positions_in_words(shape: ConvShape, entries: int) -> str:
    """`4 of 9 positions`."""
    height, width = shape.kernel
    return f"{entries} of {height * width} positions"
