"""Runs of a network that wait at a block while it is trained, and then go on: nothing is computed twice.

Block after block, what a block reads and what it is to give are needed on all samples. A run from the start
for each block costs as much as half the network, for each of its blocks. So each batch has one run, in a
thread of its own, of which one at a time works, and only while somebody waits for it: it stops where a block
begins or ends, and holds what is computed so far. Where these values are too many, further batches are run
from the start each time.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rankfold.calibration.observation import observing
from rankfold.calibration.samples import Inputs, call
from rankfold.errors import InputError

MEMORY = 1 << 30  # bytes that the runs of one network hold while they wait
MOST_RUNS = 64  # that wait, each in a thread; further batches run from the start for each block


class WaitingRuns:
    """The runs of a network on all batches of some data, as far as somebody asked for; a context manager.

    The network must not change but for the blocks themselves, each after its inputs were asked for and before
    anything behind it is.

    Args:
        network: in eval mode; hooks look at it until the end.
        names: of its blocks, none within another.
        samples: the batches, gone through again where memory does not suffice.
        memory: bytes that may be held; None: `MEMORY`.
    """

    def __init__(
        self, network: nn.Module, names: Sequence[str], samples: Iterable[Inputs], memory: int | None = None
    ) -> None:
        self._network, self._samples = network, samples
        self._blocks = {name: network.get_submodule(name) for name in names}
        self._memory = MEMORY if memory is None else memory
        self._runs: list[_Run] = []
        self._at_work: _Run | None = None
        self._hooks = ExitStack()
        # Not known before the first batch, and after the last one.
        self._waiting: int | None = None  # runs that may wait
        self._batches: int | None = None

    def __enter__(self) -> WaitingRuns:
        self._hooks.enter_context(observing(self._blocks, before=self._before, after=self._after))
        return self

    def __exit__(self, *_: object) -> None:
        self.begin_anew()
        self._hooks.close()

    def values(self, name: str, *, outputs: bool) -> Iterator[Tensor]:
        """What a block reads, or gives, on each batch; blocks are asked for in the order in which they run.

        Raises:
            InputError: the network fails, or the block does not run.
        """
        if len(self._runs) == self._batches:
            for run in self._runs:
                yield self._until(run, name, outputs=outputs)
            return
        count = 0
        for place, batch in enumerate(self._samples):
            count += 1
            if self._waiting is None:
                live = _live_bytes(self._network, batch)
                self._waiting = min(self._memory // max(live, 1), MOST_RUNS)
            if place < self._waiting:
                if place == len(self._runs):
                    self._runs.append(_Run(self._network, batch))
                yield self._until(self._runs[place], name, outputs=outputs)
                continue
            alone = _Run(self._network, batch)
            try:
                yield self._until(alone, name, outputs=outputs)
            finally:
                alone.end()
        self._batches = count

    def begin_anew(self) -> None:
        """Have all runs begin again, as after a change of what they have passed."""
        for run in self._runs:
            run.end()
        self._runs.clear()

    def _until(self, run: _Run, name: str, *, outputs: bool) -> Tensor:
        self._at_work = run
        try:
            return run.until(name, outputs=outputs)
        finally:
            self._at_work = None

    def _before(self, name: str, _: nn.Module, given: Tensor) -> None:
        # Others than runs may call blocks, too: those who train them.
        if self._at_work is not None:
            self._at_work.passes(name, given, outputs=False)

    def _after(self, name: str, _: nn.Module, __: Any, gives: Tensor) -> None:
        if self._at_work is not None:
            self._at_work.passes(name, gives, outputs=True)


class _Ended(BaseException):
    """Ends a run that nobody waits for; no error, so that nobody takes it for one."""


class _Run:
    """One batch on its way through a network, in a thread that works only within `until`.

    Args:
        network: see `WaitingRuns`.
        batch: its inputs.
    """

    def __init__(self, network: nn.Module, batch: Inputs) -> None:
        self._network, self._batch = network, batch
        self._go_on, self._there = threading.Semaphore(0), threading.Semaphore(0)
        self._wanted: tuple[str, bool] | None = None  # None: the run shall end
        self._found: Tensor | None = None
        self._error: BaseException | None = None
        self._is_over = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def until(self, name: str, *, outputs: bool) -> Tensor:
        """Go on to where a block begins, or ends: what it reads or gives."""
        self._wanted = name, outputs
        if not self._is_over:
            if self._thread.ident is None:
                self._thread.start()
            else:
                self._go_on.release()
            self._there.acquire()
        found, self._found = self._found, None
        if self._error is not None:
            raise self._error
        if found is None:
            raise InputError(f"module {name} runs on some batches of the data and not on others")
        return found

    def passes(self, name: str, values: Tensor, *, outputs: bool) -> None:
        """Called in the thread, wherever a block begins or ends."""
        if self._wanted != (name, outputs):
            return
        self._found = values
        del values
        self._there.release()
        self._go_on.acquire()
        if self._wanted is None:
            raise _Ended

    def end(self) -> None:
        """Give up what is left of the run."""
        self._wanted = None
        self._go_on.release()
        if self._thread.ident is not None:
            self._thread.join()

    def _work(self) -> None:
        try:
            # Whether gradients are recorded is a matter of each thread.
            with torch.no_grad():
                call(self._network, self._batch)
        except _Ended:
            return
        except BaseException as error:
            self._error = error
        self._is_over = True
        self._there.release()


def _live_bytes(network: nn.Module, batch: Inputs) -> int:
    """The most bytes of values that a run holds at once, beside the batch and the network."""
    watch = _Live()
    with torch.no_grad(), watch:
        call(network, batch)
    return watch.most


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the values that are computed and still held, after each operation.

    Attributes:
        most: bytes, of any moment.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._held: dict[int, tuple[weakref.ref[Any], int]] = {}  # by address

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Sequence[Any] = (), keywords: Any = None
    ) -> Any:
        given = function(*arguments, **(keywords or {}))
        for value in given if isinstance(given, (tuple, list)) else (given,):
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                self._held[storage.data_ptr()] = weakref.ref(storage), storage.nbytes()
        self._held = {place: one for place, one in self._held.items() if one[0]() is not None}
        self.most = max(self.most, sum(size for _, size in self._held.values()))
        return given
