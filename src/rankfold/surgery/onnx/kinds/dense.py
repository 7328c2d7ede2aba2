"""A layer that keeps its node and its weight."""

from __future__ import annotations

from typing import Any

from rankfold.calibration.moments import PatchMoments
from rankfold.plan.layer import LayerPlan
from rankfold.surgery.onnx.kinds.kind import KindOnnx, StoredLayer
from rankfold.workload.onnx.file import OnnxFile
from rankfold.workload.onnx.layers import OnnxLayer


class DenseOnnx(KindOnnx):
    """Everything stays."""

    def check(self, layer: LayerPlan) -> None:
        """Any layer can be dense."""

    def store(
        self,
        layer: LayerPlan,
        place: OnnxLayer,
        file: OnnxFile,
        moments: PatchMoments | None,
    ) -> StoredLayer | None:
        """Nothing new."""
        return None

    def nodes(self, layer: LayerPlan, place: OnnxLayer, file: OnnxFile) -> list[Any]:
        """The node itself."""
        return [place.node]


PART = DenseOnnx()
