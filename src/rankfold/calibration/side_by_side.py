"""Work on several layers at a time, each on one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Protocol

import torch
from threadpoolctl import threadpool_limits
from torch import nn

from rankfold.calibration.patches import Layer, patch_inputs
from rankfold.models.device import device_of

NARROW = 1448  # inputs of a layer whose moments take 16 MiB


class Begin(Protocol):
    """Begins work on a layer, once there is a thread for it and earlier work on the layer is done."""

    def __call__(self, name: str, work: Callable[..., None], *arguments: object) -> None:
        """Of the layer of this name; errors of earlier work are raised here, too."""


def threads_for(model: nn.Module, layers: Iterable[Layer]) -> int:
    """Layers at a time of a network: as many as torch may use threads.

    One at a time on a device that has its own threads, and where any layer is so wide that its products are
    worth several threads: two such layers would be held at once for nothing.
    """
    widest = max((patch_inputs(layer) for layer in layers), default=0)
    if device_of(model).type != "cpu" or widest > NARROW:
        return 1
    return torch.get_num_threads()


@contextmanager
def side_by_side(threads: int) -> Iterator[Begin]:
    """Inside, what begins work on layers; at its end all is done.

    Many of a layer's products are too small for several threads, so that layers run side by side instead. No
    more of them are held at a time than there are threads.
    """
    if threads == 1:
        yield lambda name, work, *arguments: work(*arguments)
        return
    running: dict[str, Future[None]] = {}

    def begin(name: str, work: Callable[..., None], *arguments: object) -> None:
        # Batches are added up in their order.
        if name in running:
            running.pop(name).result()
        if len(running) == threads:
            wait(running.values(), return_when=FIRST_COMPLETED)
        for other in [other for other, future in running.items() if future.done()]:
            running.pop(other).result()
        running[name] = pool.submit(work, *arguments)

    with ThreadPoolExecutor(threads, initializer=_on_one_thread) as pool:
        yield begin
        for future in running.values():
            future.result()


def _on_one_thread() -> None:
    # Of the calling thread alone, for as long as it lives.
    threadpool_limits(1, "openmp")
