"""`KindOnnx`: what stands in for a layer of a kind in an ONNX file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass
from typing import Any

from rankfold.calibration.moments import PatchMoments
from rankfold.errors import InputError
from rankfold.plan.kinds import has_part, part_of
from rankfold.plan.layer import LayerPlan
from rankfold.workload.onnx.file import OnnxFile
from rankfold.workload.onnx.layers import OnnxLayer


@dataclass(frozen=True)
class DecomposedLayer:
    """What became of one layer.

    Attributes:
        name: the layer.
        groups: g.
        rank: r.
        error: relative Frobenius error of the weight.
        plain_error: the same at equal rank without groups, by SVD.
        output_error: relative error of the layer's output on calibration data, where the factors were made
            for them.
        parameters_before: weights before, without bias.
        parameters_after: weights after.
    """

    name: str
    groups: int
    rank: int
    error: float
    plain_error: float
    output_error: float | None
    _: KW_ONLY
    parameters_before: int
    parameters_after: int


@dataclass(frozen=True, eq=False)
class StoredLayer:
    """What is stored in the place of a layer's weight.

    Attributes:
        tensors: the stored tensors (`onnx.TensorProto`).
        report: what became of the layer.
    """

    tensors: tuple[Any, ...]
    report: DecomposedLayer


class KindOnnx(ABC):
    """How layers of one kind are written into an ONNX file."""

    @abstractmethod
    def check(self, layer: LayerPlan) -> None:
        """Refuse, before anything is made, a layer that an ONNX file cannot have.

        Raises:
            InputError: it is such a layer; the message names it.
        """

    @abstractmethod
    def store(
        self,
        layer: LayerPlan,
        place: OnnxLayer,
        file: OnnxFile,
        moments: PatchMoments | None,
    ) -> StoredLayer | None:
        """What is stored in the place of a layer's weight, once for all nodes that share it.

        Args:
            layer: what the plan says of it.
            place: the first node that reads the weight.
            file: where the weight is.
            moments: of the layer's inputs, for which the new weights are made; None: they are nearest to
                the old.

        Returns:
            The tensors and a report; None where the weight stays.

        Raises:
            InputError: the weight cannot be computed, or has values that are not finite.
        """

    @abstractmethod
    def nodes(self, layer: LayerPlan, place: OnnxLayer, file: OnnxFile) -> list[Any]:
        """The nodes that stand in for one node of a layer (`onnx.NodeProto`).

        Args:
            layer: what the plan says of it.
            place: the node.
            file: where it is.
        """


def onnx_of(layer: LayerPlan) -> KindOnnx:
    """How a layer of a plan is written into an ONNX file.

    Raises:
        InputError: a layer of its kind cannot be.
    """
    if not has_part(layer.kind, "onnx"):
        raise InputError(
            f"plan, layer {layer.name}: an ONNX file can have low-rank layers only, "
            f"this one is {layer.kind.name}"
        )
    return part_of(layer.kind, "onnx", KindOnnx)  # type: ignore[type-abstract]
