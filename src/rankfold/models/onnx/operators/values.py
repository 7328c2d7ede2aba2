"""Values as operators need them: as tensors, or as whole numbers in Python."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rankfold.errors import InputError
from rankfold.models.onnx.operators.registry import Value, Whole


def is_whole(value: Value) -> bool:
    """Whether these are whole numbers of Python's."""
    return isinstance(value, (int, list)) and not isinstance(value, bool)


def tensor(value: Value, like: Tensor | None = None) -> Tensor:
    """The same as a tensor, on the device of another one."""
    if isinstance(value, Tensor):
        return value
    assert value is not None
    device = None if like is None else like.device
    return torch.tensor(value, dtype=torch.int64, device=device)


def tensors(*values: Value) -> list[Tensor]:
    """All as tensors, on the device of the first that is one."""
    like = next((value for value in values if isinstance(value, Tensor)), None)
    return [tensor(value, like) for value in values]


def whole(value: Value) -> Whole:
    """The same as whole numbers of Python's; of a tensor on a device they are read back."""
    if isinstance(value, Tensor):
        numbers: Any = value.tolist()
        return [int(one) for one in numbers] if isinstance(numbers, list) else int(numbers)
    assert value is not None
    return value


def listed(value: Value) -> list[int]:
    """Whole numbers as a list, also a single one."""
    numbers = whole(value)
    return numbers if isinstance(numbers, list) else [numbers]


def places(axes: list[int], rank: int) -> list[int]:
    """Axes counted from the front.

    Raises:
        InputError: there is no such axis.
    """
    for axis in axes:
        if not -rank <= axis < rank:
            raise InputError(f"it has the axis {axis}, and its input has {rank}; export it again")
    return [axis % rank for axis in axes]
