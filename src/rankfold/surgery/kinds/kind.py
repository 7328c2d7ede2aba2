"""`KindSurgery`: how a layer is replaced by one of a kind, and what is known of the replacement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from rankfold.calibration.moments import PatchMoments
from rankfold.errors import InputError
from rankfold.nn.low_rank import weight_shape
from rankfold.plan.kinds import LayerKind, part_of
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import Plan
from rankfold.surgery.convertible import check_convertible
from rankfold.workload import ConvShape

Masks = Mapping[str, np.ndarray]  # (m, C_in/G, kh, kw) booleans by layer


@dataclass(frozen=True)
class Replacement:
    """What stands in for a layer.

    Attributes:
        module: the new module, or the old one where it stays.
        error: relative Frobenius error of the weight; None where it is not known.
        plain_error: the bound of Theorem 1 of Jeon et al. (2025), the error at equal rank without groups.
        output_error: relative error of the layer's output on calibration data, where they are known.
    """

    module: nn.Module
    error: float | None = None
    plain_error: float | None = None
    output_error: float | None = None


@dataclass(frozen=True)
class Part:
    """A module that a layer became, which is quantised and runs on arrays of its own.

    Attributes:
        name: its name in the network.
        signed: whether its input can be negative; None: it gets the layer's input, whose sign the plan says.
    """

    name: str
    signed: bool | None = None


class KindSurgery:
    """How layers of one kind are made; the base is a layer that keeps its module.

    Attributes:
        resizes_others: whether layers around those of the kind change with them, so that no other kind may be
            in the plan.
    """

    resizes_others: bool = False

    def check(self, layer: LayerPlan, module: nn.Module) -> None:
        """Refuse, before anything is changed, a module that cannot become this.

        Raises:
            InputError: the numbers in the plan do not fit it.
            UnsupportedLayerError: it has behaviour that a replacement would not carry over.
        """

    def choose_(self, model: nn.Module, plan: Plan, layers: Sequence[LayerPlan]) -> Masks:
        """Make the choices that concern all layers of the kind together, from the network's weights.

        Args:
            model: the network, which only a kind that `resizes_others` changes.
            plan: the whole plan.
            layers: the layers of this kind.

        Returns:
            The weights that layers keep, where that is what was chosen.
        """
        return {}

    def resize_(self, model: nn.Module, plan: Plan) -> None:
        """Give the network the sizes of the plan, for weights to be loaded; for a kind that
        `resizes_others`.
        """

    def build(self, layer: LayerPlan, module: nn.Module) -> nn.Module:
        """The module that the layer becomes, for weights to be loaded."""
        return module

    def check_made(self, layer: LayerPlan, module: nn.Module) -> None:
        """Refuse a layer of a network that cannot be what the plan made of it.

        Args:
            layer: what the plan says of it.
            module: a dense layer of its size, without weights.

        Raises:
            InputError: its size is another.
        """

    def replace(
        self,
        layer: LayerPlan,
        module: nn.Module,
        moments: PatchMoments | None,
        mask: np.ndarray | None,
    ) -> Replacement:
        """The module that the layer becomes, with weights made from those it has.

        Args:
            layer: what the plan says of it.
            module: the dense layer.
            moments: of its inputs, for which the weights are made; None: they are the nearest to its own.
            mask: (m, C_in/G, kh, kw) booleans, if `choose_` gave it one.
        """
        # No error: None says that the weight is the layer's own.
        return Replacement(module)

    def parts(self, layer: LayerPlan) -> tuple[Part, ...]:
        """The modules that the layer becomes, in the order in which they run."""
        return (Part(layer.name),)

    def dense_weight(self, module: nn.Module) -> tuple[Tensor | None, Tensor]:
        """The bias parameter, and the weight of the dense layer that the module stands for."""
        assert isinstance(module, (nn.Conv2d, nn.Linear))  # every other kind says it itself
        return module.bias, module.weight

    def dense_shape(self, layer: LayerPlan, parts: Sequence[ConvShape]) -> ConvShape:
        """The shape of the layer, from the shapes that its parts run with."""
        (shape,) = parts
        if shape.is_linear:
            # One vector after another, however many tokens there are.
            return replace(shape, input=(1, 1))
        return shape


class ReplacingSurgery(KindSurgery):
    """What kinds that replace a layer's module have in common."""

    def check(self, layer: LayerPlan, module: nn.Module) -> None:
        """Only plain convolutions and linear layers are replaced."""
        check_convertible(layer.name, module)


def check_positions(layer: LayerPlan, module: nn.Module, entries: int) -> None:
    """Refuse kernel positions of a layer that is no convolution, or whose kernel or support does not fit.

    Raises:
        InputError: they do not fit; the message names the layer.
    """
    if not isinstance(module, nn.Conv2d):
        raise InputError(
            f"layer {layer.name}: entries (={entries}) are for convolutions; it is a fully connected layer"
        )
    layer.kind.check(weight_shape(module, layer.name))


def surgery_of(kind: LayerKind | type[LayerKind]) -> KindSurgery:
    """What surgery does with a kind.

    Raises:
        InputError: it is not registered.
    """
    return part_of(kind, "surgery", KindSurgery)
