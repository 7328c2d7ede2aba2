"""Steps in bfloat16 where its products can be trusted, and in float32 where they cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from rankfold.nn.batch_norm import batch_norm
from rankfold.nn.convolution import convolution
from rankfold.nn.rectified import asked

CONVOLUTIONS = frozenset({torch.conv1d, torch.conv2d, torch.conv3d})
ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")  # in this order


@contextmanager
def bfloat16_steps(device: torch.device, enabled: bool) -> Iterator[None]:
    """bfloat16 autocast inside, if `enabled`.

    On a processor, convolutions that torch computes wrong stay float32, and others, and batch norm, run by
    `nn.convolution` and `nn.batch_norm`.
    """
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
        # Every call of torch passes a mode, so that there is one only where it has something to do.
        if enabled and device.type == "cpu":
            with _OnProcessor():
                yield
        else:
            yield


class _OnProcessor(TorchFunctionMode):
    """Runs convolutions with a stride, of outputs one pixel wide or high, in float32, and others faster.

    On processors torch 2.13 computes such convolutions in bfloat16 beyond the ends of its buffers: outputs
    and gradients of the weights are other numbers each time, some of them finite, and a process may be ended
    by it. All other shapes agree with float32 to the digits of bfloat16.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in CONVOLUTIONS:
            given = dict(zip(ARGUMENTS, args, strict=False))
            given.update(kwargs or {})
            if _strided_to_one(given):
                with torch.autocast("cpu", enabled=False):
                    return func(**_in_float32(given))
            fast = None
            if func is torch.conv2d:
                fast = convolution(given)
            if fast is not None:
                return fast
        if func is F.batch_norm:
            return batch_norm(*args, **(kwargs or {}), asked=asked())
        return func(*args, **(kwargs or {}))


def _strided_to_one(given: dict[str, Any]) -> bool:
    """Whether a convolution, by its arguments, has a stride above 1 and an output of size 1 somewhere."""
    input: Tensor = given["input"]
    weight: Tensor = given["weight"]
    stride = given.get("stride", 1)
    padding = given.get("padding", 0)
    dilation = given.get("dilation", 1)
    kernel = weight.shape[2:]
    dimensions = len(kernel)
    strides = _of_each(stride, dimensions)
    # Padding by name: `same` goes with stride 1 alone, and `valid` pads nothing.
    if max(strides) == 1:
        return False
    borders = (0,) * dimensions
    if not isinstance(padding, str):
        borders = _of_each(padding, dimensions)
    sizes = input.shape[-dimensions:]
    spans = zip(sizes, kernel, strides, borders, _of_each(dilation, dimensions), strict=True)
    return any((size + 2 * p - d * (k - 1) - 1) // s == 0 for size, k, s, p, d in spans)


def _of_each(value: int | Sequence[int], dimensions: int) -> tuple[int, ...]:
    """A setting of a convolution for each of its dimensions."""
    if isinstance(value, int):
        return (value,) * dimensions
    if len(value) == 1:
        return tuple(value) * dimensions
    return tuple(value)


def _in_float32(given: dict[str, Any]) -> dict[str, Any]:
    values = {}
    for name, value in given.items():
        if isinstance(value, Tensor):
            value = value.float()
        values[name] = value
    return values
