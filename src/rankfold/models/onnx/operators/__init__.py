"""Operators of ONNX as functions of torch, by their names."""

from rankfold.models.onnx.operators import elementwise, reductions, shaping, windows
from rankfold.models.onnx.operators.registry import OPERATORS, Value

__all__ = ["OPERATORS", "Value", "elementwise", "reductions", "shaping", "windows"]
