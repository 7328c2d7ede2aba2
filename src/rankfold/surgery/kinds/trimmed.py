"""Trimmed layers: weights for the channels that are left, and constants for the other outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rankfold.calibration.correction import correct_
from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.patches import Layer
from rankfold.errors import InputError
from rankfold.lowrank import FittedSupport
from rankfold.mapping.window_matrix import window_weight
from rankfold.nn.low_rank import weight_shape
from rankfold.nn.plain import CONV_ATTRIBUTES
from rankfold.nn.trimmed import TrimmedConv2d
from rankfold.nn.window import WindowConv2d
from rankfold.plan.channels import text_to_channels
from rankfold.plan.kinds import TrimmedLayer
from rankfold.plan.layer import LayerPlan
from rankfold.plan.support import support_to_mask, text_to_support
from rankfold.surgery.kinds.kind import Part, Replacement, ReplacingSurgery, surgery_of
from rankfold.surgery.kinds.window import reader
from rankfold.surgery.trimmed_weight import TrimmedProblem, placed
from rankfold.surgery.window_weight import best_matrix, lost_share, output_moments
from rankfold.workload import ConvShape
from rankfold.workload.shape import Pair


class TrimmedSurgery(ReplacingSurgery):
    """`TrimmedConv2d` in the place of a convolution."""

    brings_bias = True

    def check(self, layer: LayerPlan, module: nn.Module) -> None:
        """Refuse a layer that cannot be replaced, or has no such channels or inputs."""
        super().check(layer, module)
        kind = cast(TrimmedLayer, layer.kind)
        if not isinstance(module, nn.Conv2d):
            raise InputError(
                f"layer {layer.name}: only convolutions of one group and depthwise ones are trimmed; it is a "
                "fully connected layer"
            )
        kind.check_channels(weight_shape(module, layer.name))
        inner = _inner(layer)
        surgery_of(inner.kind).check(replace(inner, name=layer.name), _smaller(kind, module))

    def build(self, layer: LayerPlan, module: nn.Module) -> nn.Module:
        """The layer with weights of no meaning."""
        assert isinstance(module, nn.Conv2d)  # check refuses others
        inner = _inner(layer)
        made = surgery_of(inner.kind).build(inner, _smaller(cast(TrimmedLayer, layer.kind), module))
        return TrimmedConv2d(module, made, *_channels(layer, module))

    def check_channels(self, layer: LayerPlan, modules: Mapping[str, nn.Module]) -> None:
        """Refuse weights of other channels than the plan names."""
        module = modules[layer.name]
        assert isinstance(module, TrimmedConv2d)  # its sizes are checked before
        kind = cast(TrimmedLayer, layer.kind)
        sides = (("reads", kind.reads, module.reads), ("gives", kind.gives, module.computes))
        for side, text, found in sides:
            if not np.array_equal(text_to_channels(text, len(found)), found):
                raise InputError(
                    f"layer {layer.name}: its weights are of other channels than {side} (={text}) in the "
                    "plan; take both from one run"
                )

    def replace(
        self,
        layer: LayerPlan,
        module: nn.Module,
        moments: PatchMoments | None,
        mask: np.ndarray | None,
    ) -> Replacement:
        """The layer with the best weights on the inputs that are left."""
        assert isinstance(module, nn.Conv2d)  # check refuses others
        kind = cast(TrimmedLayer, layer.kind)
        made = cast(TrimmedConv2d, self.build(layer, module))
        copies = _copies(module.weight, module, kind.window)
        groups = module.groups
        problem = TrimmedProblem.of(copies, moments, made.reads_of_outputs, made.computes, groups=groups)
        support = None
        if kind.support is not None:
            matrix = cast(WindowConv2d, made.inner).matrix
            support = text_to_support(kind.support, weight_shape(matrix, layer.name))
        found = problem.fitted(kind.rows, support)
        own = np.tile(made.computes, len(copies) // module.out_channels)
        _put_(made, found, own, module.bias)
        whole = placed(found.weight, made.reads_of_outputs, own)
        output_error = None
        if moments is not None:
            # Relative to what these inputs can explain of the dense outputs, where others have changed.
            target, parts = best_matrix(copies, groups, moments), output_moments(moments, len(copies), groups)
            output_error = lost_share(target, whole, groups, parts)
        return Replacement(made, lost_share(copies, whole, groups, None), None, output_error)

    def reads(self, layer: LayerPlan, module: Layer) -> Layer:
        """Its own patches, or the boxes of its windows, with all channels."""
        kind = cast(TrimmedLayer, layer.kind)
        if kind.window is None:
            return module
        assert isinstance(module, nn.Conv2d)  # check refuses others
        chooses = kind.rows is not None and kind.support is None
        return reader(WindowConv2d(module, kind.window), weighed=chooses)

    def correct_(
        self,
        module: nn.Module,
        norm: nn.Module | None,
        before: Tensor,
        moments: PatchMoments,
    ) -> None:
        """Take back the shift of the mean in the biases; what is not computed becomes its mean."""
        assert isinstance(module, TrimmedConv2d)
        computes = module.computes
        window = module.inner.window if isinstance(module.inner, WindowConv2d) else None
        copies = _copies(before, module, window)
        pixels = len(copies) // len(computes)
        own = np.tile(computes, pixels)
        shift = torch.zeros(len(copies), dtype=torch.float64)
        variance = norm.running_var if isinstance(norm, _BatchNorm) else None
        kept = None if variance is None else variance.clone()
        after = _whole(module)
        channels = np.tile(np.arange(len(computes)), pixels)
        correct_(shift, norm, torch.from_numpy(copies), after, moments, channels=channels)
        constant = torch.from_numpy(~computes)
        with torch.no_grad():
            bias = cast(Tensor, module.inner.bias)
            bias.add_(shift[torch.from_numpy(own)].to(bias))
            module.rest.add_(shift.reshape(pixels, -1).mean(0)[constant].to(module.rest))
            if variance is not None and kept is not None:
                # Divided by next to nothing, a shift of the mean of what is constant now would explode.
                variance[constant] = kept[constant]

    def matrices(self, module: nn.Module) -> tuple[Tensor, ...]:
        """That of all channels, or of a window of them, with zeros for those that are left out."""
        assert isinstance(module, TrimmedConv2d)
        return (_whole(module),)

    def support(self, layer: LayerPlan, modules: Mapping[str, nn.Module]) -> str | None:
        """The inputs of a window that the mask keeps."""
        inner = _inner(layer)
        return surgery_of(inner.kind).support(inner, modules)

    def parts(self, layer: LayerPlan) -> tuple[Part, ...]:
        """Those of what computes the channels."""
        inner = _inner(layer)
        return surgery_of(inner.kind).parts(inner)

    def dense_shape(self, layer: LayerPlan, module: nn.Module, parts: Sequence[ConvShape]) -> ConvShape:
        """The convolution that computes the channels, with those that it lacks."""
        inner = _inner(layer)
        assert isinstance(module, TrimmedConv2d)
        shape = surgery_of(inner.kind).dense_shape(inner, module.inner, parts)
        return replace(
            shape,
            name=layer.name,
            weight="",
            in_channels=len(module.reads),
            out_channels=len(module.computes),
            groups=cast(int, module.groups),
        )


def _inner(layer: LayerPlan) -> LayerPlan:
    """The entry of the module that computes the channels."""
    kind = cast(TrimmedLayer, layer.kind).inner
    return replace(layer, name=f"{layer.name}.inner", kind=kind, mapping=kind.mapping_for(layer.mapping))


def _channels(layer: LayerPlan, conv: nn.Conv2d) -> tuple[np.ndarray, np.ndarray]:
    """(C_in,) and (m,) booleans, the channels that are left."""
    kind = cast(TrimmedLayer, layer.kind)
    return text_to_channels(kind.reads, conv.in_channels), text_to_channels(kind.gives, conv.out_channels)


def _smaller(kind: TrimmedLayer, conv: nn.Conv2d) -> nn.Conv2d:
    """A convolution of the channels that are left, with a bias; its weights, of no meaning, are zeros."""
    geometry = {name: getattr(conv, name) for name in CONV_ATTRIBUTES}
    geometry["in_channels"] = int(text_to_channels(kind.reads, conv.in_channels).sum())
    geometry["out_channels"] = int(text_to_channels(kind.gives, conv.out_channels).sum())
    if conv.groups > 1:
        geometry["groups"] = geometry["in_channels"]
    # Drawn nowhere: torch's random state stays as it is.
    made = nn.Conv2d(**geometry, device="meta", dtype=conv.weight.dtype)
    if not conv.weight.is_meta:
        made = made.to_empty(device=conv.weight.device)
        # What lies in memory may be no number, which no quantiser could be made for.
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.zero_()
    return made.train(conv.training)


def _copies(weight: Tensor, conv: nn.Module, window: Pair | None) -> np.ndarray:
    """(m*a*b, C_in/G, ph, pw) the matrix of a window as it starts; the weight where there is no window."""
    dense = weight.detach().cpu().double().numpy()
    if window is None:
        return dense
    return window_weight(dense, 1, cast(Pair, conv.stride), cast(Pair, conv.dilation), window)


def _whole(module: TrimmedConv2d) -> Tensor:
    """(m*a*b, C_in/G, ph, pw) its matrix, with zeros for channels that are left out."""
    weight = cast(Tensor, module.inner.weight).detach().cpu().double().numpy()
    own = np.tile(module.computes, len(weight) // int(module.computes.sum()))
    return torch.from_numpy(placed(weight, module.reads_of_outputs, own))


def _put_(made: TrimmedConv2d, found: FittedSupport, own: np.ndarray, bias: Tensor | None) -> None:
    """Give a layer its weights, in place, and the biases of the convolution; zeros where it had none."""
    matrix = made.inner.matrix if isinstance(made.inner, WindowConv2d) else made.inner
    assert isinstance(matrix, nn.Conv2d) and matrix.bias is not None  # made so
    computed = torch.from_numpy(made.computes)
    with torch.no_grad():
        matrix.weight.copy_(torch.from_numpy(found.weight))
        matrix.bias.zero_()
        if bias is not None:
            pixels = len(own) // len(made.computes)
            matrix.bias.copy_(bias[computed].repeat(pixels))
            made.rest.copy_(bias[~computed])
        if isinstance(made.inner, WindowConv2d):
            kept = support_to_mask(found.support, len(matrix.weight), 1, _sides(matrix))
            made.inner.matrix.mask.copy_(torch.from_numpy(kept))
            matrix.weight.mul_(made.inner.matrix.mask)  # exact zeros, which rounding may have missed


def _sides(matrix: nn.Conv2d) -> Pair:
    height, width = matrix.kernel_size
    return height, width


PART = TrimmedSurgery()
