"""`rectified_norm`: batch norm with what blocks of a network do before and after it, in one pass over memory.

Whoever computes the norm, or the convolution that it became part of, may be far below the module that is
called. So it is asked to do more: it takes what it is `asked` for, and says that it is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.nn.fused import fused_backend
from rankfold.nn.quantised import QuantConv2d
from rankfold.nn.quantisers import Quantiser
from rankfold.nn.seen import is_seen


@dataclass
class Asked:
    """What somebody wants done with the result of the module that is called now.

    Attributes:
        added: is added to it; None: nothing is. The sum is rectified.
        rounding: then quantises that; None: nothing does.
        done: whether the former is done.
        rounded: whether that is quantised, too.
    """

    added: Tensor | None = None
    rounding: Quantiser | None = None
    done: bool = False
    rounded: bool = False


_ASKED: ContextVar[Asked | None] = ContextVar("_ASKED", default=None)
_NOTED: ContextVar[set[nn.Module] | None] = ContextVar("_NOTED", default=None)


def asked() -> Asked:
    """What is wanted of the module that is called now; `done` where nothing is, or not any more."""
    return _ASKED.get() or Asked(done=True)


@contextmanager
def noting_norms() -> Iterator[set[nn.Module]]:
    """The modules that `rectified_norm` is given inside as norms, also those that something looks at."""
    noted: set[nn.Module] = set()
    token = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(token)


def rectified_norm(
    norm: nn.Module, x: Tensor, added: Tensor | None = None, *, reader: nn.Module | None = None
) -> Tensor:
    """`torch.relu(norm(x) + added)`, one operation where the kernels compute it and nothing looks on.

    Args:
        norm: any module. It is called as it is, unless it is a plain `nn.BatchNorm2d` without hooks, or the
            plain `nn.Conv2d` that one was folded into.
        x: its input.
        added: of the shape of its output; None: nothing is.
        reader: the only module that reads the result, which it is then called with: what is returned is its
            output. The quantiser of a plain `QuantConv2d` becomes part of the operation.
    """
    rounding = _rounding_of(reader) if added is None else None
    wanted = Asked(added, rounding)
    if not torch.compiler.is_compiling():
        _note(norm)
    if torch.compiler.is_compiling() or type(norm) not in (nn.BatchNorm2d, nn.Conv2d) or is_seen(norm):
        y: Tensor = norm(x)
    else:
        token = _ASKED.set(wanted)
        try:
            y = norm(x)
        finally:
            _ASKED.reset(token)
    if not wanted.done:
        if added is not None:
            y = y + added
        y = F.relu_(y)
    if reader is None:
        return y
    if wanted.rounded:
        assert isinstance(reader, QuantConv2d)  # it has the quantiser
        return reader.of_rounded(y)
    read: Tensor = reader(y)
    return read


def _note(norm: nn.Module) -> None:
    noted = _NOTED.get()
    if noted is not None:
        noted.add(norm)


def _rounding_of(reader: nn.Module | None) -> Quantiser | None:
    """The quantiser of a module's input where nothing else takes part in what the module does."""
    if torch.compiler.is_compiling() or type(reader) is not QuantConv2d or is_seen(reader):
        return None
    quantiser = reader.input_quantiser
    if type(quantiser) is not Quantiser or is_seen(quantiser) or quantiser.bypass or not quantiser.fitted:
        return None
    return quantiser if fused_backend() is None else None
