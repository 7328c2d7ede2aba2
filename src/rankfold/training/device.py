"""The device that a network is trained and evaluated on: its name, its precision, and the layout there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rankfold.errors import InputError


def choose_device(name: str = "auto") -> torch.device:
    """The torch device of that name; `auto` is the first GPU, else the CPU.

    Raises:
        InputError: no such device on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("cpu")
    try:
        device = torch.device(name)
        # On the meta device there are shapes and no numbers, so that nothing could be computed.
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"device `{name}` is not available here; use auto, cpu, or cuda on a machine with a GPU"
        ) from error
    return device


def computes_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 natively, so that autocast pays.

    On a CPU that means AVX512-BF16 or AMX; without them bfloat16 is emulated and slower than float32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Torch before 2.10 does not tell; float32 is right everywhere.
    tell: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    capabilities = tell()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def resolve_precision(precision: str, device: torch.device) -> str:
    """`float32` or `bfloat16`: what `precision` (one of `recipe.PRECISIONS`) means on `device`."""
    if precision != "auto":
        return precision
    if computes_bfloat16(device):
        return "bfloat16"
    return "float32"


def place_(model: nn.Module, device: torch.device) -> None:
    """Move `model` to `device`, weights channels last, the layout that convolutions are fastest in.

    What lies there already keeps its memory, which a recorded step may go on reading and writing.
    """
    # In two steps: the first may copy from another device, the second is for 4-dimensional tensors only.
    model.to(device)
    model._apply(_channels_last)  # type: ignore[no-untyped-call]


def _channels_last(tensor: Tensor) -> Tensor:
    """The tensor itself where its strides are those already, or it has no such layout."""
    if tensor.ndim != 4:
        return tensor
    _, channels, height, width = tensor.shape
    # Not left to torch, which copies weights (m, 1, 1, 1) each time: their layout is ambiguous to it.
    if tensor.stride() == (channels * height * width, 1, width * channels, channels):
        return tensor
    return tensor.to(memory_format=torch.channels_last)


@contextmanager
def placed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """As training lays a network out inside; afterwards its tensors are those that they were.

    Networks that are evaluated in the layout of training have the accuracy that training reports, to the
    last image.
    """
    parameters = [(parameter, parameter.data) for parameter in model.parameters()]
    buffers = [(module, dict(module._buffers)) for module in model.modules()]
    place_(model, device)
    try:
        yield
    finally:
        for parameter, values in parameters:
            parameter.data = values
        for module, known in buffers:
            module._buffers.update(known)


@contextmanager
def deterministic() -> Iterator[None]:
    """Deterministic cuDNN kernels inside, the user's settings again outside."""
    # `benchmark` would choose kernels by their time, and so others in the next run.
    backend = torch.backends.cudnn
    before = backend.deterministic, backend.benchmark
    backend.deterministic, backend.benchmark = True, False
    try:
        yield
    finally:
        backend.deterministic, backend.benchmark = before
