"""Who finds what layers may become, several at a time: threads, processes, or others (`LayerRunner`)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event
from typing import Protocol, TypeVar

import torch
from threadpoolctl import threadpool_limits

from rankfold.planning.exact import LayerChoices
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.layer_work import LayerWork
from rankfold.worker_pool import worker_pool

Found = TypeVar("Found")

# (n, n) matrices for each group of a layer of n inputs: moments, their inverse, what is eliminated, blocks.
MATRICES = 8
MEMORY = 2 << 30  # bytes that layers may take together; the widest two of ResNet-50 would take more
NARROW = 128 << 20  # bytes of a layer of 1,448 inputs, which takes its time in factorisations
WORTH_A_PROCESS = 4  # layers for each: to begin one takes as long as one or two


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
                yield from as_ready(lambda slot: pool.submit(found, slot), order, self.threads)
            finally:
                # After Ctrl-C, or an error in one layer: a wide one would go on for minutes. Those that have
                # begun stop at their next candidate, the others never begin.
                stopping.set()
                pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class LayerProcesses:
    """Layers in processes of their own, with the same results up to the last digits.

    Much of a narrow layer is Python between small products, of which threads run one at a time. A wide one
    is factorisations, which run side by side in threads and would only be held twice. So networks with wide
    layers, and those with too few to make up for the start, are left to threads.

    A script that plans in processes needs `if __name__ == "__main__":`, since each of them imports it.

    Attributes:
        processes: layers at a time.
    """

    processes: int

    def __call__(
        self, work: Callable[[LayerSlot], LayerWork], order: Sequence[LayerSlot]
    ) -> Generator[LayerChoices]:
        """As `LayerRunner`.

        Raises:
            LostProcessError: a process was killed.
        """
        studied = sum(1 for slot in order if studied_inputs(slot))
        widest = max(map(memory_of, order), default=0)
        processes = min(self.processes, studied // WORTH_A_PROCESS)
        if processes < 2 or widest > NARROW:
            yield from LayerThreads(self.processes)(work, order)
            return
        lost = (
            "a process that finds what layers may become was killed, perhaps as memory ran out; "
            "plan again, with fewer threads if need be (--threads)"
        )
        with worker_pool(processes, lost, torch.set_num_threads, 1) as pool:
            yield from as_ready(lambda slot: pool.submit(find_layer, work(slot)), order, processes)


def find_layer(work: LayerWork) -> LayerChoices:
    """One layer, in a worker process."""
    # As threads do, so that sums are in the same order, but for that of other addresses.
    with threadpool_limits(1, "blas"):
        return work.choices()


def as_ready(
    begin: Callable[[LayerSlot], Future[Found]], order: Sequence[LayerSlot], most: int
) -> Iterator[Found]:
    """What is found of layers, as it is ready; so many at a time, and no more than there is memory for.

    A layer that would take too much waits for another wide one to end, while narrow ones go first.
    """
    waiting = list(order)
    running: dict[Future[Found], int] = {}
    while waiting or running:
        for slot in tuple(waiting):
            if len(running) == most:
                break
            needed = memory_of(slot)
            if not running or sum(running.values()) + needed <= MEMORY:
                running[begin(slot)] = needed
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
