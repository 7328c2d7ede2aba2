"""ONNX models with all their weights, and how they are written to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rankfold.files import replacing
from rankfold.workload.onnx.file import OnnxFile, import_onnx

LARGEST_FILE = 1 << 30  # bytes of weights inside the file; protobuf ends at two gigabytes


def with_weights(file: OnnxFile) -> Any:
    """A copy of a model (`onnx.ModelProto`) that holds the weights which lie beside its file, too."""
    onnx = import_onnx()
    model = onnx.ModelProto()
    model.CopyFrom(file.model)
    onnx.external_data_helper.load_external_data_for_model(model, str(file.path.parent))
    return model


def save_onnx(path: str | Path, model: Any) -> None:
    """Write a model atomically; weights above a gigabyte go into `path.data` beside it.

    Args:
        path: the file.
        model: an `onnx.ModelProto` with its weights inside; large ones are moved out of it.

    Raises:
        InputError: the file cannot be written.
    """
    target = Path(path)
    if model.ByteSize() > LARGEST_FILE:
        _save_weights(target.with_name(f"{target.name}.data"), model)
    with replacing(target) as temporary:
        temporary.write_bytes(model.SerializeToString())


def _save_weights(target: Path, model: Any) -> None:
    """Write the weights to a file, and leave in the model only where they are."""
    helper = import_onnx().external_data_helper
    with replacing(target) as temporary:
        helper.convert_model_to_external_data(model, location=temporary.name)
        helper.write_external_data_tensors(model, str(target.parent))
    # The model was written against the temporary name, which is the file's name no more.
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = target.name
