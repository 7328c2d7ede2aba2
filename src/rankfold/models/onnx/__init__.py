"""ONNX files as torch networks."""

from rankfold.models.onnx.load import load_onnx

__all__ = ["load_onnx"]
