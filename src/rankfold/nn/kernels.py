"""Passes of a training step that torch has no single operation for, compiled from `kernels.c` at first use.

Eager torch takes six passes over memory to quantise a tensor and seven for its gradient; on a processor that
is more time than the convolutions take. One pass each does the same. Where this machine cannot compile them
(`c_libraries`), `kernels()` is None and callers use torch. Quantised numbers are the same to the last bit,
sums to rounding; results record whether there were kernels.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rankfold.c_libraries import compiled

SOURCE = Path(__file__).with_name("kernels.c")
PARTS = 64  # as in the source
_FLOATS = (ctypes.c_float,) * 4
_POINTER, _COUNT, _THREADS = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_NAMES = {torch.float32: "float", torch.bfloat16: "bfloat16"}


@dataclass(frozen=True)
class Rounding:
    """A quantiser: `step` times a whole number from `low` to `high`.

    Attributes:
        step: positive.
        reciprocal: of the step, as torch computes it.
        low: lowest level.
        high: highest level.
    """

    step: float
    reciprocal: float
    low: int
    high: int


class _Rounding(ctypes.Structure):
    """As in the source."""

    _fields_ = tuple((name, ctypes.c_float) for name in ("step", "reciprocal", "low", "high"))


class Kernels:
    """The functions of the compiled library, on tensors.

    All tensors of a call are of one type, float32 or bfloat16, and of one dense layout; see `fits`.

    Args:
        library: as `ctypes` loaded it.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._quantise = _of_types(library, "quantise", _POINTER, _POINTER, _COUNT, *_FLOATS)
        self._quantise_backward = _of_types(
            library,
            "quantise_backward",
            *(_POINTER,) * 3,
            _COUNT,
            *_FLOATS,
            result=ctypes.c_double,
        )
        sizes = (_COUNT, _COUNT)
        numbers = (ctypes.c_double, ctypes.c_double, ctypes.c_int)
        flag = ctypes.c_int
        rounding = ctypes.POINTER(_Rounding)
        self._norm = _of_types(library, "norm", *(_POINTER,) * 9, *sizes, *numbers, flag, rounding)
        self._norm_backward = _of_types(
            library, "norm_backward", *(_POINTER,) * 9, *sizes, flag, rounding, result=ctypes.c_double
        )

    @staticmethod
    def fits(x: Tensor) -> bool:
        """Whether the kernels take a tensor: a plain one with memory on the CPU, of a type that they know."""
        return type(x) in (Tensor, torch.nn.Parameter) and x.device.type == "cpu" and x.dtype in _NAMES

    def quantise(self, x: Tensor, scale: float, reciprocal: float, low: int, high: int) -> Tensor:
        """`scale` times the levels of the dense tensor x, of its type and layout."""
        y = torch.empty_like(x)
        self._quantise[x.dtype](
            x.data_ptr(), y.data_ptr(), x.numel(), scale, reciprocal, low, high, _threads()
        )
        return y

    def quantise_backward(
        self,
        x: Tensor,
        dy: Tensor,
        scale: float,
        reciprocal: float,
        low: int,
        high: int,
        *,
        wants_x: bool,
    ) -> tuple[Tensor | None, float]:
        """dx, if it is wanted, and sum dy (y - inside x); dy is of the type and layout of x."""
        dx = None
        if wants_x:
            dx = torch.empty_like(x)
        total = self._quantise_backward[x.dtype](
            x.data_ptr(),
            dy.data_ptr(),
            _address(dx),
            x.numel(),
            scale,
            reciprocal,
            low,
            high,
            _threads(),
        )
        return dx, total

    def norm(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running: tuple[Tensor, Tensor] | None,
        *,
        momentum: float,
        eps: float,
        training: bool,
        rectify: bool = False,
        added: Tensor | None = None,
        rounding: Rounding | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Batch norm of x, of its type and layout, and (2, C) the mean and the deviation that it used.

        In training the running statistics are changed in place.

        Args:
            x: (B, C, H, W), channels last.
            weight: (C,) float32, contiguous, as all that follow.
            bias: (C,).
            running: mean and variance, (C,) each.
            momentum: share of this batch in the running statistics.
            eps: added to the variance.
            training: whether mean and variance are those of x, rather than the running ones.
            rectify: whether negative results become zero.
            added: what is added before that, of the type, shape and layout of x.
            rounding: quantises the result, which is rectified then, without anything added.
        """
        channels = x.shape[1]
        y = torch.empty_like(x)
        saved = _numbers(2, channels, dtype=torch.float64)
        scratch = _scratch(channels)
        mean, variance = running or (None, None)
        self._norm[x.dtype](
            x.data_ptr(),
            _address(added),
            y.data_ptr(),
            _address(weight),
            _address(bias),
            _address(mean),
            _address(variance),
            saved.data_ptr(),
            scratch.data_ptr(),
            x.numel() // channels,
            channels,
            momentum,
            eps,
            training,
            rectify,
            _structure(rounding),
            _threads(),
        )
        return y, saved

    def norm_backward(
        self,
        x: Tensor,
        dy: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        saved: Tensor,
        *,
        wants_x: bool,
        rectified: bool = False,
        rounding: Rounding | None = None,
    ) -> tuple[Tensor | None, Tensor, Tensor, float]:
        """The gradients of x, if it is wanted, of weight and of bias, and the sum of `quantise_backward`.

        dy is of the type and layout of x. Args as of `norm`; `rectified` says whether its results were.
        """
        channels = x.shape[1]
        dx = None
        if wants_x:
            dx = torch.empty_like(x)
        dw, db = (_numbers(channels, dtype=torch.float32) for _ in range(2))
        scratch = _scratch(channels)
        total = self._norm_backward[x.dtype](
            x.data_ptr(),
            dy.data_ptr(),
            _address(dx),
            _address(weight),
            _address(bias),
            saved.data_ptr(),
            dw.data_ptr(),
            db.data_ptr(),
            scratch.data_ptr(),
            x.numel() // channels,
            channels,
            rectified,
            _structure(rounding),
            _threads(),
        )
        return dx, dw, db, total


@functools.cache
def kernels() -> Kernels | None:
    """The compiled kernels, or None where this machine has no compiler for them."""
    return compiled(SOURCE, Kernels)


def is_image_like(added: Tensor | None, shape: Sequence[int], dtype: torch.dtype) -> bool:
    """Whether what is added, if anything, is an image that kernels read beside one of this shape and type."""
    return added is None or (
        Kernels.fits(added)
        and (added.dtype, tuple(added.shape)) == (dtype, tuple(shape))
        and added.is_contiguous(memory_format=torch.channels_last)
    )


def _of_types(library: ctypes.CDLL, name: str, *arguments: Any, result: Any = None) -> dict[torch.dtype, Any]:
    """A function of the library for each type of tensor; the number of threads is its last argument."""
    functions = {}
    for dtype, suffix in _NAMES.items():
        function = library[f"{name}_{suffix}"]
        function.argtypes = (*arguments, _THREADS)
        function.restype = result
        functions[dtype] = function
    return functions


def _address(x: Tensor | None) -> int | None:
    if x is None:
        return None
    return x.data_ptr()


def _structure(rounding: Rounding | None) -> ctypes._Pointer[_Rounding] | None:
    if rounding is None:
        return None
    numbers = _Rounding(rounding.step, rounding.reciprocal, rounding.low, rounding.high)
    return ctypes.pointer(numbers)


def _scratch(channels: int) -> Tensor:
    """Where a kernel keeps the sums of its parts."""
    return _numbers(PARTS, 2, channels, dtype=torch.float64)


def _numbers(*size: int, dtype: torch.dtype) -> Tensor:
    """Memory for a kernel to write to, whatever torch's default type and device are."""
    return torch.empty(size, dtype=dtype, device="cpu")


def _threads() -> int:
    return torch.get_num_threads()
