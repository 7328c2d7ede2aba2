"""Which parameter of a network a tensor is, or is a view of: told by the memory that both lie in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class _Stored:
    """A parameter's place in its memory: from element `first` to before element `end`."""

    first: int
    end: int
    name: str


class StoredParameters:
    """The places of a network's parameters.

    Args:
        model: the network; its parameters stay where they are while this is used.
    """

    def __init__(self, model: nn.Module) -> None:
        self._memory: dict[int, list[_Stored]] = {}
        for name, parameter in model.named_parameters():
            first = int(parameter.storage_offset())
            stored = _Stored(first, first + parameter.numel(), name)
            self._memory.setdefault(_memory_of(parameter), []).append(stored)

    def name_of(self, weight: Any) -> str:
        """The parameter whose memory a tensor lies in, or an empty text."""
        if not isinstance(weight, Tensor) or weight.layout != torch.strided:
            return ""
        # A view, such as a transposed weight, lies in the memory of what it is a view of.
        start = weight.storage_offset()
        for stored in self._memory.get(_memory_of(weight), ()):
            if stored.first <= start < stored.end:
                return stored.name
        return ""


def _memory_of(tensor: Tensor) -> int:
    """The same number for all tensors that share their memory."""
    return int(tensor.untyped_storage()._cdata)
