"""Operators of ONNX by name, each a function of values that gives one value or a tuple of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

# Small constant whole numbers and sizes of values are Python's, so that shapes are known to exporters and
# nobody reads them back from a device; all else is a tensor. None: an input that is not given.
Whole = int | list[int]
Value = Tensor | Whole | None

Function = TypeVar("Function", bound=Callable[..., Any])

OPERATORS: dict[str, Callable[..., Any]] = {}


def operator(*names: str) -> Callable[[Function], Function]:
    """Register a function as operators of ONNX's own set.

    Inputs of the node are its positional parameters, attributes its keywords of the same names; one called
    `opset` is given the version of the operator set.
    """

    def register(function: Function) -> Function:
        for name in names:
            assert name not in OPERATORS
            OPERATORS[name] = function
        return function

    return register
