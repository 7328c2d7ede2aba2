"""Grouped layers: their blocks of channels are chosen, and their weights refitted, for the layer's output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from torch import Tensor, nn

from rankfold.calibration.correction import correct_
from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.patches import Cut, Layer
from rankfold.errors import InputError
from rankfold.nn.grouped import GroupedConv2d
from rankfold.nn.low_rank import weight_shape
from rankfold.plan.kinds import GroupedLayer
from rankfold.plan.layer import LayerPlan
from rankfold.plan.members import members_to_text, text_to_members
from rankfold.surgery.grouped_weight import grouped_weight
from rankfold.surgery.kinds.kind import Part, Replacement, ReplacingSurgery
from rankfold.workload import ConvShape


class GroupedSurgery(ReplacingSurgery):
    """`GroupedConv2d` in the place of a convolution."""

    def check(self, layer: LayerPlan, module: nn.Module) -> None:
        """Refuse a layer that cannot be replaced, or whose channels cannot be cut so."""
        super().check(layer, module)
        if not isinstance(module, nn.Conv2d):
            raise InputError(
                f"layer {layer.name}: blocks (={_kind(layer).blocks}) are for convolutions; it is a fully "
                "connected layer"
            )
        layer.kind.check(weight_shape(module, layer.name))

    def build(self, layer: LayerPlan, module: nn.Module) -> nn.Module:
        """The layer with weights of no meaning."""
        assert isinstance(module, nn.Conv2d)  # check refuses others
        return GroupedConv2d(module, _kind(layer).blocks)

    def replace(
        self,
        layer: LayerPlan,
        module: nn.Module,
        moments: PatchMoments | None,
        mask: np.ndarray | None,
    ) -> Replacement:
        """The layer with the best weight on its blocks, chosen where the plan does not name them."""
        assert isinstance(module, nn.Conv2d)  # check refuses others
        kind = _kind(layer)
        grouping = None
        if kind.members is not None:
            grouping = text_to_members(kind.members, weight_shape(module, layer.name), kind.blocks)
        weight = module.weight.detach().cpu().double().numpy()  # (m, C_in/G, kh, kw)
        found = grouped_weight(weight, module.groups, kind.blocks, moments, grouping)
        made = GroupedConv2d(module, kind.blocks)
        bias = None if module.bias is None else module.bias.detach()
        made.fill_(found.weight, bias, found.grouping)
        return Replacement(made, found.error, None, found.output_error)

    def reads(self, layer: LayerPlan, module: Layer) -> Layer:
        """Its own patches; where blocks are to be chosen it counts what errors of outputs cost."""
        if _kind(layer).members is not None:
            return module
        assert isinstance(module, nn.Conv2d)  # check refuses others
        groups = module.groups

        def by_patch(plane: Tensor) -> Tensor:
            """(B, m, OH, OW) as (B, G, m/G, P)."""
            return plane.reshape(len(plane), groups, plane.shape[1] // groups, -1)

        return Cut(module, lambda inputs: inputs, None, by_patch)

    def correct_(
        self,
        module: nn.Module,
        norm: nn.Module | None,
        before: Tensor,
        moments: PatchMoments,
    ) -> None:
        """Take back the shift of the mean in the bias, in the order of the blocks, or in the norm."""
        assert isinstance(module, GroupedConv2d)
        weight, order = module.weight, None
        if module.conv.bias is not None:
            order = module.grouping.output_order
            before, weight = before[order], weight[order]
        correct_(module.conv.bias, norm, before, weight, moments, channels=order)

    def matrices(self, module: nn.Module) -> tuple[Tensor, ...]:
        """The weight of the dense layer, with zeros between blocks."""
        assert isinstance(module, GroupedConv2d)
        return (module.weight,)

    def support(self, layer: LayerPlan, modules: Mapping[str, nn.Module]) -> str | None:
        """The channels of each block."""
        module = modules.get(layer.name)
        if not isinstance(module, GroupedConv2d):
            return None
        return members_to_text(module.grouping)

    def parts(self, layer: LayerPlan) -> tuple[Part, ...]:
        """The grouped convolution."""
        return (Part(f"{layer.name}.conv"),)

    def dense_shape(self, layer: LayerPlan, module: nn.Module, parts: Sequence[ConvShape]) -> ConvShape:
        """The layer with the groups that it had."""
        (shape,) = parts
        # An empty weight becomes the layer's name, see `ConvShape`.
        return replace(shape, name=layer.name, weight="", groups=shape.groups // _kind(layer).blocks)


def _kind(layer: LayerPlan) -> GroupedLayer:
    return cast(GroupedLayer, layer.kind)


PART = GroupedSurgery()
