"""Where points are evaluated: in this process, or in several on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from rankfold.errors import InputError
from rankfold.explore.evaluate import Evaluator
from rankfold.explore.outcome import Outcome
from rankfold.worker_pool import worker_pool

AHEAD = 2  # chunks that wait at each process

Chunk = tuple[int, ...]  # numbers of points


Evaluate = Callable[[Iterable[Chunk]], Iterator[list[Outcome]]]


class Runner(Protocol):
    """Evaluates points somewhere."""

    def opened(self, evaluator: Evaluator) -> AbstractContextManager[Evaluate]:
        """Inside, what evaluates chunks of points, and yields each when it is done, in any order."""


class ThisProcess:
    """The runner of one process."""

    @contextmanager
    def opened(self, evaluator: Evaluator) -> Iterator[Evaluate]:
        """As `Runner`."""
        yield lambda chunks: map(evaluator, chunks)


@dataclass(frozen=True)
class LocalPool:
    """The runner of several processes of this machine.

    Attributes:
        workers: how many.
    """

    workers: int

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"workers (={self.workers}) must be 1 or more")

    @contextmanager
    def opened(self, evaluator: Evaluator) -> Iterator[Evaluate]:
        """As `Runner`.

        Raises:
            LostProcessError: one of the processes has ended.
        """
        lost = (
            "a process that evaluates points was killed, perhaps as memory ran out; the same command "
            "goes on, with fewer workers if need be"
        )
        with worker_pool(self.workers, lost, _keep, evaluator) as pool:
            yield lambda chunks: self._run(pool, iter(chunks))

    def _run(self, pool: ProcessPoolExecutor, chunks: Iterator[Chunk]) -> Iterator[list[Outcome]]:
        running: set[Future[list[Outcome]]] = set()
        for chunk in chunks:
            running.add(pool.submit(_evaluate, chunk))
            if len(running) == AHEAD * self.workers:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        yield from (future.result() for future in as_completed(running))


_EVALUATOR: list[Evaluator] = []  # of a process of the pool, which gets it once


def _keep(evaluator: Evaluator) -> None:
    _EVALUATOR.append(evaluator)


def _evaluate(chunk: Chunk) -> list[Outcome]:
    return _EVALUATOR[0](chunk)
