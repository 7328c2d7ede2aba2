"""Networks for other tools: ONNX files, array images, workload files, dense weights.

The names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankfold.export.array_images.images import ArrayExport as ArrayExport
    from rankfold.export.array_images.images import write_arrays as write_arrays
    from rankfold.export.dense import merge as merge
    from rankfold.export.onnx.write import write_onnx as write_onnx
    from rankfold.export.workloads import write_csv as write_csv
    from rankfold.export.workloads import write_zigzag as write_zigzag

_HOMES = {
    "ArrayExport": "array_images.images",
    "merge": "dense",
    "write_arrays": "array_images.images",
    "write_csv": "workloads",
    "write_onnx": "onnx.write",
    "write_zigzag": "workloads",
}

__all__ = ["ArrayExport", "merge", "write_arrays", "write_csv", "write_onnx", "write_zigzag"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rankfold.export' has no attribute {name!r}")
    return getattr(import_module(f"rankfold.export.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
