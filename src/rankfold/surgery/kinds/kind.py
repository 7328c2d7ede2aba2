"""`KindSurgery`: how a layer is replaced by one of a kind, and what is known of the replacement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn

from rankfold.calibration.correction import correct_
from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.patches import Layer
from rankfold.errors import InputError
from rankfold.nn.low_rank import weight_shape
from rankfold.plan.kinds import LayerKind, part_of
from rankfold.plan.layer import LayerPlan
from rankfold.plan.plan import Plan
from rankfold.plan.support import mask_to_support, support_to_text
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
        brings_bias: whether its module has a bias even where the layer had none, which takes back a constant
            error of the output.
    """

    resizes_others: bool = False
    brings_bias: bool = False

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

    def check_channels(self, layer: LayerPlan, modules: Mapping[str, nn.Module]) -> None:
        """Refuse weights that are of other channels than the plan names, as many as they may be.

        Only for kinds whose plans always name them; others have a `support`.

        Args:
            layer: what the plan says of it.
            modules: of the network, by name, after `compress_`, before or after `quantise_`.

        Raises:
            InputError: they are.
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

    def reads(self, layer: LayerPlan, module: Layer) -> Layer:
        """What says which patches of the layer's inputs its weights are made for: the layer itself.

        A kind whose weights see more of the input at once, such as windows of several outputs, gives a
        convolution or a shape of these patches.
        """
        return module

    def correct_(
        self,
        module: nn.Module,
        norm: nn.Module | None,
        before: Tensor,
        moments: PatchMoments,
    ) -> None:
        """Take back, in place, what the replacement changes in the mean and variance of the layer's output.

        Args:
            module: what the layer became.
            norm: the batch norm that follows directly, or None.
            before: the dense weight.
            moments: of what the layer `reads`, not centred.
        """
        # As the module holds it, its rounding included, since that is what runs.
        bias, weight = self.dense_weight(module)
        correct_(bias, norm, before, weight, moments)

    def support(self, layer: LayerPlan, modules: Mapping[str, nn.Module]) -> str | None:
        """Which inputs the weights of a layer use, as plans say it; None where the modules do not say it.

        Only for kinds that have a support (`LayerKind.shares_support`).

        Args:
            layer: what the plan says of it.
            modules: of the network, by name, after `compress_`, before or after `quantise_`.
        """
        return None

    def parts(self, layer: LayerPlan) -> tuple[Part, ...]:
        """The modules that the layer becomes, in the order in which they run."""
        return (Part(layer.name),)

    def dense_weight(self, module: nn.Module) -> tuple[Tensor | None, Tensor]:
        """The bias parameter, and the weight of the dense layer that the module stands for.

        A kind whose layers stand for none has a `correct_` of its own instead.
        """
        assert isinstance(module, (nn.Conv2d, nn.Linear))  # every other kind says it itself
        return module.bias, module.weight

    def matrices(self, module: nn.Module) -> tuple[Tensor, ...]:
        """What the layer multiplies its inputs by, of each part of its plane: the weight of the dense layer
        that it stands for, or (m*a*b, C_in/G, ph, pw) the matrices of its windows.

        They are in the order of `KindCandidates.made_for`, whose windows they are the matrices of.
        """
        return (self.dense_weight(module)[1],)

    def dense_shape(self, layer: LayerPlan, module: nn.Module, parts: Sequence[ConvShape]) -> ConvShape:
        """The shape of the layer before it was replaced.

        Args:
            layer: what the plan says of it.
            module: what it became.
            parts: the shapes that its parts run with.
        """
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


def masked_positions(module: nn.Module | None) -> str | None:
    """The kernel positions that the mask of a convolution keeps for all its outputs, as text; None without a
    mask.
    """
    mask = getattr(module, "mask", None)
    if not isinstance(module, nn.Conv2d) or not isinstance(mask, Tensor):
        return None
    # Read from the mask, not the weights: a kept weight may happen to be zero.
    return support_to_text(mask_to_support(mask.cpu().numpy(), module.groups))


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
