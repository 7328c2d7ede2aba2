"""Trimmed layers."""

from __future__ import annotations

from typing import cast

import numpy as np

from rankfold.plan.channels import text_to_channels
from rankfold.plan.kinds import LayerKind, TrimmedLayer
from rankfold.report.kinds.kind import Channels, KindPicture, PanelWords, picture_of
from rankfold.report.methods import RunMethod
from rankfold.report.palette import BROWN
from rankfold.workload import ConvShape

TRIMMED = "trimmed"  # the family


class TrimmedPicture(KindPicture):
    """Drawn as the smaller layer, with its channels in words."""

    families = (TRIMMED,)

    def method(self, kind: LayerKind) -> RunMethod:
        """Channels went, however many."""
        return RunMethod(BROWN, "trimmed channels")

    def panel_words(self, kind: LayerKind, shape: ConvShape) -> PanelWords:
        """How many channels are left, and what the smaller layer says."""
        trimmed = cast(TrimmedLayer, kind)
        left = trimmed.trimmed(shape)
        meaning = f"reads {left.in_channels} of {shape.in_channels} channels, computes {left.m} of {shape.m}"
        inner = picture_of(trimmed.inner).panel_words(trimmed.inner, left)
        if inner is not None:
            meaning += f"; {inner.meaning}"
        return PanelWords("Trimmed channels", meaning)

    def channels(self, kind: LayerKind, shape: ConvShape) -> tuple[Channels, Channels]:
        """Those that are left."""
        trimmed = cast(TrimmedLayer, kind)
        reads = text_to_channels(trimmed.reads, shape.in_channels)
        gives = text_to_channels(trimmed.gives, shape.m)
        return tuple(np.flatnonzero(reads).tolist()), tuple(np.flatnonzero(gives).tolist())

    def interest(self, kind: LayerKind) -> int:
        """As much as that of the smaller layer."""
        inner = cast(TrimmedLayer, kind).inner
        return picture_of(inner).interest(inner)


PART = TrimmedPicture()
