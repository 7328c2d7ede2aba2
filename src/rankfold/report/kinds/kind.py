"""`KindPicture`: what pictures, tables and colours say of a kind of layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

from rankfold.errors import InputError
from rankfold.plan.kinds import LayerKind, has_part, kinds, part_of
from rankfold.plan.layer import LayerPlan
from rankfold.report.methods import RunMethod
from rankfold.workload import ConvShape

if TYPE_CHECKING:
    import numpy as np

    from rankfold.mapping import ArraySpec
    from rankfold.report.arrays.panel import Panel

# What this step is called where kinds are registered.
STEP = "picture"
# Numbers of channels; None: all, in their order.
Channels = tuple[int, ...] | None
# The family of layers that stay as they are, or are smaller dense ones.
DENSE = "dense"


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
        families: columns in which tables of fronts count its layers; the first one is that of most. A name of
            its own gives it a column of its own, kinds with the same name share one.
        counts_steering: whether its cycles are told with ideal steering of inputs, too.
    """

    families: ClassVar[tuple[str, ...]]
    counts_steering: ClassVar[bool] = False

    def family_of(self, kind: LayerKind) -> str:
        """Which of its `families` a layer is counted in."""
        return self.families[0]

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

    def panels(
        self,
        shape: ConvShape,
        array: ArraySpec,
        entry: LayerPlan,
        mask: np.ndarray | None,
    ) -> tuple[Panel, ...]:
        """The pictures of a layer on its arrays, in place of the one of its mapping; none: that one.

        Args:
            shape: what the layer was.
            array: R x C.
            entry: what the plan says of it, with the mapping to draw.
            mask: (m, C_in/G, kh, kw) booleans, the weights that it keeps, where only its weights know.
        """
        return ()

    def channels(self, kind: LayerKind, shape: ConvShape) -> tuple[Channels, Channels]:
        """Which channels of the layer the input and the output channels of its picture are.

        Args:
            kind: what it became.
            shape: what it was.

        Returns:
            Their numbers, from 0; None where they are those of the layer in their order.
        """
        return None, None

    def needs_saved_mask(self, kind: LayerKind) -> bool:
        """Whether only the mask that is saved with the weights says which of them are kept."""
        return False

    def bound_is_error(self, kind: LayerKind) -> bool:
        """Whether the bound of Theorem 1 on the error of a layer is that error by definition, so that it says
        nothing more.
        """
        return False

    def interest(self, kind: LayerKind) -> int:
        """Pages draw one layer on its arrays: the costliest of those of the largest number here."""
        return 0


def picture_of(kind: LayerKind | type[LayerKind]) -> KindPicture:
    """What is said of a kind.

    Raises:
        InputError: it is not registered.
    """
    return part_of(kind, STEP, KindPicture)  # type: ignore[type-abstract]


def family_of(kind: LayerKind) -> str:
    """The column in which tables of fronts count a layer.

    Raises:
        InputError: it is none of those that its kind declares, so that no table would have it.
    """
    picture = picture_of(kind)
    family = picture.family_of(kind)
    if family not in picture.families:
        raise InputError(
            f"{kind.name} layers are counted as {family}, which must be one of their picture's families: "
            f"{', '.join(picture.families)}"
        )
    return family


def families() -> tuple[str, ...]:
    """The columns in which tables of fronts count layers: those of all registered kinds, each once.

    First what most layers of the kinds are counted in, in the order of registration, then what only some
    are.
    """
    each = [picture_of(kind).families for kind in kinds() if has_part(kind, STEP)]
    first = [names[0] for names in each]
    others = chain.from_iterable(names[1:] for names in each)
    return tuple(dict.fromkeys([*first, *others]))


def positions_in_words(shape: ConvShape, entries: int) -> str:
    """`4 of 9 positions`."""
    height, width = shape.kernel
    return f"{entries} of {height * width} positions"
