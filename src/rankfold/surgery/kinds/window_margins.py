"""Window layers whose margins have matrices of their own: each part is made as a window layer is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from torch import Tensor, nn

from rankfold.calibration.correction import Replaced, correct_together_
from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.patches import Layer
from rankfold.nn.window_margins import WindowMarginsConv2d
from rankfold.plan.kinds import WindowMarginsLayer
from rankfold.plan.kinds.window_margins import BETWEEN
from rankfold.plan.layer import LayerPlan
from rankfold.surgery.kinds.kind import Part, Replacement, ReplacingSurgery, masked_positions
from rankfold.surgery.kinds.window import PART as WINDOW
from rankfold.surgery.kinds.window import fit_, reader, started_from
from rankfold.surgery.window_weight import LostPower
from rankfold.workload import ConvShape


class WindowMarginsSurgery(ReplacingSurgery):
    """`WindowMarginsConv2d` in the place of a convolution."""

    brings_bias = True

    def check(self, layer: LayerPlan, module: nn.Module) -> None:
        """Refuse a layer that cannot be replaced, or more rows than a window has."""
        super().check(layer, module)
        for part in _parts(layer):
            WINDOW.check(part, module)

    def build(self, layer: LayerPlan, module: nn.Module) -> nn.Module:
        """The layer with weights of no meaning."""
        assert isinstance(module, nn.Conv2d)  # check refuses others
        return WindowMarginsConv2d(module, _kind(layer).places)

    def replace(
        self,
        layer: LayerPlan,
        module: nn.Module,
        moments: PatchMoments | None,
        mask: np.ndarray | None,
    ) -> Replacement:
        """The layer with its shifted copies in the parts that keep all rows, and in the others with the rows
        worth most and their best weights.
        """
        assert isinstance(module, nn.Conv2d)  # check refuses others
        made = WindowMarginsConv2d.from_conv(module, _kind(layer).places)
        if not layer.kind.shares_support:
            return Replacement(made, 0.0)
        known: Sequence[PatchMoments | None] = [None] * len(made.each)
        if moments is not None:
            known = moments.of_matrices
        weights = outputs = LostPower(0.0, 0.0)
        for own, part, seen in zip(_kind(layer).parts, made.each, known, strict=True):
            found = fit_(part, own.layer, layer.name, seen)
            weights += found.lost
            if found.lost_outputs is not None:
                # Moments are averages over the windows of the part.
                outputs += found.lost_outputs.times(part.windows)
        output_error = None
        if moments is not None:
            output_error = outputs.share
        return Replacement(made, weights.share, None, output_error)

    def reads(self, layer: LayerPlan, module: Layer) -> Layer:
        """Boxes of the windows of each part."""
        assert isinstance(module, nn.Conv2d)  # check refuses others
        made = WindowMarginsConv2d(module, _kind(layer).places)
        chooses = layer.kind.shares_support and layer.kind.known_support is None
        first, *others = [reader(part, weighed=chooses) for part in made.each]
        return replace(first, others=tuple(others))

    def correct_(
        self,
        module: nn.Module,
        norm: nn.Module | None,
        before: Tensor,
        moments: PatchMoments,
    ) -> None:
        """Take back the shift of the mean in the biases of each pixel, and what that leaves in the norm."""
        assert isinstance(module, WindowMarginsConv2d)
        replaced = []
        for part, seen in zip(module.each, moments.of_matrices, strict=True):
            started = started_from(before, part)
            replaced.append(
                Replaced(part.bias, started, part.weight, seen, channels=part.channels, share=part.windows)
            )
        correct_together_(replaced, norm)

    def matrices(self, module: nn.Module) -> tuple[Tensor, ...]:
        """Those of the windows of each part."""
        assert isinstance(module, WindowMarginsConv2d)
        return tuple(part.weight for part in module.each)

    def support(self, layer: LayerPlan, modules: Mapping[str, nn.Module]) -> str | None:
        """The inputs that the masks keep of the windows of each part that drives only some."""
        texts = []
        for own, part in zip(_kind(layer).parts, self.parts(layer), strict=True):
            if own.rows is not None:
                text = masked_positions(modules.get(part.name))
                if text is None:
                    return None
                texts.append(text)
        return BETWEEN.join(texts)

    def parts(self, layer: LayerPlan) -> tuple[Part, ...]:
        """The convolution of each part's windows."""
        return tuple(Part(f"{layer.name}.parts.{number}.matrix") for number in range(len(_kind(layer).parts)))

    def dense_shape(self, layer: LayerPlan, module: nn.Module, parts: Sequence[ConvShape]) -> ConvShape:
        """The layer whose plane the parts fill, with a kernel that has its extent and all padding in its
        input.
        """
        first = _parts(layer)[0]
        alone = WINDOW.dense_shape(first, module, parts[:1])
        size = [
            (pixels - 1) * step + extent
            for pixels, step, extent in zip(_kind(layer).plane, alone.stride, alone.kernel, strict=True)
        ]
        return replace(alone, input=(size[0], size[1]), padding=(0, 0, 0, 0))


def _kind(layer: LayerPlan) -> WindowMarginsLayer:
    return cast(WindowMarginsLayer, layer.kind)


def _parts(layer: LayerPlan) -> list[LayerPlan]:
    """What the plan would say of each part alone."""
    return [replace(layer, kind=part.layer) for part in _kind(layer).parts]


PART = WindowMarginsSurgery()
