"""`KindOnnx`: what stands in for a layer of a kind in an ONNX file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

from rankfold.calibration.moments import PatchMoments
from rankfold.errors import InputError
from rankfold.plan.kinds import LayerKind, has_part, kinds, part_of
from rankfold.plan.layer import LayerPlan
from rankfold.workload.onnx.file import OnnxFile
from rankfold.workload.onnx.layers import OnnxLayer


@dataclass(frozen=True, kw_only=True)
class DecomposedLayer:
    """What became of one layer.

    Attributes:
        name: the layer.
        kind: what it became.
        error: relative Frobenius error of the weight.
        plain_error: the same of a low-rank pair at equal rank without groups, by SVD; None for other kinds.
        output_error: relative error of the layer's output on calibration data, where the factors were made
            for them.
        parameters_before: weights before, without bias.
        parameters_after: weights after.
    """

    name: str
    kind: LayerKind
    error: float
    plain_error: float | None
    output_error: float | None
    parameters_before: int
    parameters_after: int

    @property
    def setting(self) -> dict[str, Any]:
        """The fields of its kind, such as `groups` and `rank`, as plans say them."""
        content = self.kind.to_json()
        return {name: value for name, value in content.items() if name in self.kind.schema}

    def to_json(self) -> dict[str, Any]:
        """The layer's entry in `decomposition.json`: its setting beside what is measured, and whole in
        `becomes`.
        """
        measured = {field.name: getattr(self, field.name) for field in fields(self)}
        name, _ = measured.pop("name"), measured.pop("kind")
        return {"name": name, **self.setting, **measured, "becomes": self.kind.to_json()}


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
        able = [kind.name for kind in kinds() if kind.changes_weight and has_part(kind, "onnx")]
        raise InputError(
            f"plan, layer {layer.name}: an ONNX file can have {' and '.join(able)} layers only, "
            f"this one is {layer.kind.name}"
        )
    return part_of(layer.kind, "onnx", KindOnnx)  # type: ignore[type-abstract]
