"""Processes of this machine that work for this one: begun, ended with it, and told of where one is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from rankfold.errors import LostProcessError

NONE_BEGAN = (
    "no process could begin: there is too little memory, or it cannot import the script that was started, "
    'which must be a file with `if __name__ == "__main__":` above what it does'
)


@contextmanager
def worker_pool(
    processes: int, lost: str, prepare: Callable[[Any], None], value: Any
) -> Iterator[ProcessPoolExecutor]:
    """Inside, a pool of processes; where it is left early they are ended, and nothing is waited for.

    Each process imports the script that was started, as all that are spawned do, so that a script needs
    `if __name__ == "__main__":`.

    Args:
        processes: how many.
        lost: what to say where one is killed, in a sentence: what was lost, and what would go on.
        prepare: called in each process first.
        value: with this.

    Raises:
        LostProcessError: one of the processes has ended, with `lost`; or none has begun.
    """
    context = _RememberingContext()
    pool = ProcessPoolExecutor(
        processes,
        mp_context=context,
        initializer=_begin,
        initargs=(prepare, value),
    )
    try:
        begun = pool.submit(_do_nothing)
        yield pool
    except BrokenProcessPool:
        # Where the pool breaks, all that is not done fails with it.
        if begun.exception() is not None:
            lost = NONE_BEGAN
        raise LostProcessError(lost) from None
    except BaseException:
        # Ctrl-C, an error of ours, or nobody who wants more: what they are at may take long. All of them: one
        # that stays may wait for a lock that another one had.
        for process in context.processes:
            if process.is_alive():
                process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


class _RememberingContext(SpawnContext):
    """Knows all processes that it began: a pool begins one where work finds none idle.

    Anew and not forked: a fork of a process with threads may wait for ever.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[SpawnProcess] = []

    def Process(self, *arguments: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]
        process = SpawnProcess(*arguments, **options)
        self.processes.append(process)
        return process


def _begin(prepare: Callable[[Any], None], value: Any) -> None:
    """Prepare a process of a pool."""
    # The process that it works for hears of Ctrl-C and ends it; and where that was killed, it ends by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare(value)


def _do_nothing() -> None:
    """The first work of a pool: done where a process has begun."""


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
