"""Where points are evaluated: in this process, or in several on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from rankfold.errors import InputError, LostProcessError
from rankfold.explore.evaluate import Evaluator
from rankfold.explore.outcome import Outcome

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
        # Begun anew and not forked: a fork of a process with threads may wait for ever.
        pool = ProcessPoolExecutor(
            self.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(evaluator,),
        )
        try:
            yield lambda chunks: self._run(pool, iter(chunks))
        except BrokenProcessPool:
            raise LostProcessError(
                "a process that evaluates points was killed, perhaps as memory ran out; the same command "
                "goes on, with fewer workers if need be"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)

    def _run(self, pool: ProcessPoolExecutor, chunks: Iterator[Chunk]) -> Iterator[list[Outcome]]:
        running: set[Future[list[Outcome]]] = set()
        for chunk in chunks:
            running.add(pool.submit(_evaluate, chunk))
            if len(running) == AHEAD * self.workers:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        yield from (future.result() for future in as_completed(running))


_EVALUATOR: list[Evaluator] = []  # of a process of the pool, which gets it once


def _begin(evaluator: Evaluator) -> None:
    """Prepare a process of the pool."""
    # The process that it works for hears of Ctrl-C and ends it; and where that was killed, it ends by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _EVALUATOR.append(evaluator)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _evaluate(chunk: Chunk) -> list[Outcome]:
    return _EVALUATOR[0](chunk)
