"""Who finds what layers may become, several at a time: threads of this process, or others (`LayerRunner`)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event
from typing import Protocol, TypeVar

from threadpoolctl import threadpool_limits

from rankfold.planning.exact import LayerChoices
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.layer_work import LayerWork

Found = TypeVar("Found")

# (n, n) matrices for each group of a layer of n inputs: moments, their inverse, what is eliminated, blocks.
MATRICES = 8
MEMORY = 2 << 30  # bytes that layers may take together; the widest two of ResNet-50 would take more


class LayerRunner(Protocol):
    """Who finds what layers may become, several at a time."""

    def __call__(
        self, work: Callable[[LayerSlot], LayerWork], order: Sequence[LayerSlot]
    ) -> Generator[LayerChoices]:
        """What each layer may become, as it is ready; nothing goes on where it is closed before.

        Args:
            work: on a layer, with all that it needs.
            order: the layers, those first that take longest.
        """


@dataclass(frozen=True)
class LayerThreads:
    """Layers on threads of this process.

    Attributes:
        threads: layers at a time.
    """

    threads: int

    def __call__(
        self, work: Callable[[LayerSlot], LayerWork], order: Sequence[LayerSlot]
    ) -> Generator[LayerChoices]:
        """As `LayerRunner`."""
        stopping = Event()

        def found(slot: LayerSlot) -> LayerChoices:
            return work(slot).choices(stopping)

        # One thread of the BLAS for each layer: most factorisations are small, and more threads would only
        # wait for each other.
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(self.threads) as pool:
            try:
                yield from in_threads(pool, found, order, self.threads)
            finally:
                # After Ctrl-C, or an error in one layer: a wide one would go on for minutes. Those that have
                # begun stop at their next candidate, the others never begin.
                stopping.set()
                pool.shutdown(wait=False, cancel_futures=True)


def in_threads(
    pool: Executor, found: Callable[[LayerSlot], Found], order: Sequence[LayerSlot], threads: int
) -> Iterator[Found]:
    """What is found of layers, as it is ready; so many at a time, and no more than there is memory for.

    A layer that would take too much waits for another wide one to end, while narrow ones go first.
    """
    waiting = list(order)
    running: dict[Future[Found], int] = {}
    while waiting or running:
        for slot in tuple(waiting):
            if len(running) == threads:
                break
            needed = memory_of(slot)
            if not running or sum(running.values()) + needed <= MEMORY:
                running[pool.submit(found, slot)] = needed
                waiting.remove(slot)
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            del running[future]
            yield future.result()


def memory_of(slot: LayerSlot) -> int:
    """Bytes that a layer takes while its candidates are found, about."""
    return MATRICES * 8 * slot.shape.groups * studied_inputs(slot) ** 2


def studied_inputs(slot: LayerSlot) -> int:
    """n of a layer that is studied, with which the time that it takes grows; 0: it stays as it is."""
    if slot.why_dense and slot.widths is None:
        return 0
    return slot.shape.n
