"""`random_state_kept`: modules are made without a trace in the random numbers that a user draws later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Draws inside leave torch's random state as it was, on the CPU and on `device`.

    A module of torch draws its first weights when it is made. Here they are replaced at once, so that a
    user's own training must not depend on whether they were drawn.
    """
    devices = []
    if device.type == "cuda":
        devices.append(device)
    with torch.random.fork_rng(devices=devices):
        yield
