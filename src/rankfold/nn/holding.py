"""Who holds learned step sizes to their bounds: quantisers themselves, or whoever updates them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_ELSEWHERE: ContextVar[bool] = ContextVar("held_elsewhere", default=False)


@contextmanager
def held_elsewhere() -> Iterator[None]:
    """Inside, quantisers leave their steps as they are: whoever updates the steps bounds them.

    Quantisers remember the value that a step had when it was last used. In a step of training that is
    recorded once and played again, they would remember that of the recording for ever.
    """
    token = _ELSEWHERE.set(True)
    try:
        yield
    finally:
        _ELSEWHERE.reset(token)


def are_held_elsewhere() -> bool:
    """Whether this is inside `held_elsewhere`, or what runs is being compiled, which is no different."""
    return torch.compiler.is_compiling() or _ELSEWHERE.get()
