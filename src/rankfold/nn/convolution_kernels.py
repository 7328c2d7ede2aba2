"""Convolutions in bfloat16 on the matrix unit of newer processors, compiled from C at first use.

torch leaves convolutions to oneDNN, whose gradients of weights reach a tenth to a fifth of what the unit can
do. `convolution_kernels()` is None where this machine has no such unit, or cannot compile them
(`c_libraries`), and callers use torch.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rankfold.c_libraries import compiled

SOURCE = Path(__file__).with_name("convolutions.c")
TILE = 16  # as in the source, as the next two
MOST_CHANNELS = 1024
KERNELS, STRIDES = (1, 3), (1, 2)
_POINTER = ctypes.c_void_p


class _Shape(ctypes.Structure):
    """As in the source."""

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in ("images", "height", "width", "channels", "outputs", "kernel", "stride")
    )


@dataclass(frozen=True)
class Window:
    """A square kernel of 1 pixel without padding, or of 3 with one, and its stride."""

    size: int
    stride: int

    def out(self, size: int) -> int:
        """Outputs along a side of `size` pixels."""
        return (size - 1) // self.stride + 1


class ConvolutionKernels:
    """The functions of the compiled library, on tensors.

    Images are bfloat16, channels last; weights (O, C, k, k) are float32, channels last, and rounded to
    bfloat16 there. Sums are float32, and do not depend on the number of threads.

    Args:
        library: as `ctypes` loaded it.

    Raises:
        OSError: the system does not let this process use the unit.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        shape = ctypes.POINTER(_Shape)
        self._forward = library.convolution
        self._forward.argtypes = (*(_POINTER,) * 5, shape, ctypes.c_int, ctypes.c_int)
        self._inputs = library.convolution_inputs
        self._inputs.argtypes = (*(_POINTER,) * 3, shape, ctypes.c_int)
        self._weights = library.convolution_weights
        self._weights.argtypes = (*(_POINTER,) * 3, shape, ctypes.c_int)
        if not library.convolutions_ready():
            raise OSError("the matrix unit may not be used")

    def forward(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        window: Window,
        *,
        added: Tensor | None = None,
        rectify: bool = False,
    ) -> Tensor:
        """(B, C, H, W) and a float32 bias (O,) -> (B, O, OH, OW).

        What is `added`, of the type, shape and layout of the result, and with `rectify` a ReLU of the sum
        come before the result is rounded.
        """
        y = _images(x.shape[0], weight.shape[0], window.out(x.shape[2]), window.out(x.shape[3]))
        addresses = [_address(bias), _address(added)]
        shape, threads = _shape(x.shape, weight, window), torch.get_num_threads()
        _check(
            self._forward(x.data_ptr(), weight.data_ptr(), *addresses, y.data_ptr(), shape, rectify, threads)
        )
        return y

    def inputs(self, dy: Tensor, weight: Tensor, size: torch.Size, window: Window) -> Tensor:
        """The gradient of inputs of that size (B, C, H, W)."""
        dx = _images(*size)
        shape, threads = _shape(size, weight, window), torch.get_num_threads()
        _check(self._inputs(dy.data_ptr(), weight.data_ptr(), dx.data_ptr(), shape, threads))
        return dx

    def weights(self, x: Tensor, dy: Tensor, weight: Tensor, window: Window) -> Tensor:
        """The gradient of the weights, which are asked for their shape alone; OW is even."""
        dw = torch.empty_like(weight)
        shape, threads = _shape(x.shape, weight, window), torch.get_num_threads()
        _check(self._weights(x.data_ptr(), dy.data_ptr(), dw.data_ptr(), shape, threads))
        return dw


@functools.cache
def convolution_kernels() -> ConvolutionKernels | None:
    """The compiled kernels, or None where this machine has no compiler, or no matrix unit, for them."""
    return compiled(SOURCE, ConvolutionKernels)


def _images(*size: int) -> Tensor:
    return torch.empty(size, dtype=torch.bfloat16, device="cpu", memory_format=torch.channels_last)


def _shape(size: torch.Size, weight: Tensor, window: Window) -> ctypes._Pointer[_Shape]:
    images, channels, height, width = size
    shape = _Shape(images, height, width, channels, weight.shape[0], window.size, window.stride)
    return ctypes.pointer(shape)


def _address(part: Tensor | None) -> int | None:
    """Where a tensor lies; None: there is none."""
    return None if part is None else part.data_ptr()


def _check(failed: int) -> None:
    if failed:
        raise MemoryError("a convolution needs more memory than there is")
