"""`Captured`: a function of no arguments as one CUDA graph; on a processor, the function itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from rankfold.errors import InputError, first_line

# Calls before the recording, in which libraries choose kernels and reserve memory.
WARM_UP = 3
# The host waits for the device every so many calls, so that it is never long until all that was sent is done.
AHEAD = 8
NOT_RECORDED = "cannot be recorded"  # in the message of what torch refuses to record


class Captured:
    """Calls a function; on a GPU the fourth call records it, and it and all later ones play the recording.

    A GPU gets the few thousand operations of a step of training one by one from the host, which takes longer
    than to compute them. They are recorded once and sent as one from then on (a CUDA graph). So the function
    must do the same operations on the same memory each time, and never wait for a value; what it does on the
    host is done for the first calls alone. All of them run on a stream of their own, `stream`, which whoever
    calls has to make the current one (`on_stream`).

    Args:
        function: what is called.
        device: where it works.
        memory: addresses that it reads and writes and that others may change between calls.
    """

    def __init__(
        self,
        function: Callable[[], None],
        device: torch.device,
        memory: Callable[[], tuple[int, ...]] = tuple,
    ) -> None:
        self._function = function
        self._memory = memory
        self._recorded_on: tuple[int, ...] = ()
        self._sent: torch.cuda.Event | None = None
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self.stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @property
    def is_recorded(self) -> bool:
        """Whether calls play the graph."""
        return self._graph is not None

    def __call__(self) -> None:
        """Do it once more.

        Raises:
            InputError: it cannot be recorded.
        """
        self._calls += 1
        if self.stream is None:
            self._function()
            return
        if self._calls <= WARM_UP:
            self._function()
        else:
            if self._graph is None:
                self._recorded_on = self._memory()
                self._graph = self._recorded(self.stream)
            self._graph.replay()
        if self._calls % AHEAD == 0:
            self._wait_for_earlier_calls(self.stream)

    def forget_what_moved(self) -> None:
        """Let the next call record anew where the memory is another than that of the recording."""
        if self._graph is not None and self._memory() != self._recorded_on:
            if self.stream is not None:
                self.stream.synchronize()
            self._graph = None

    def _wait_for_earlier_calls(self, stream: torch.cuda.Stream) -> None:
        """Wait for what was sent when this was last called: the host is less than 2 `AHEAD` calls ahead."""
        before = self._sent
        self._sent = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._sent.record(stream)
        if before is not None:
            before.synchronize()

    def _recorded(self, stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
        """A graph of the function, which is not run by it."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=stream):
                self._function()
        # A fault of the device's size and not of the function.
        except torch.OutOfMemoryError:
            raise
        # Of torch, and of this kind for all that CUDA refuses.
        except RuntimeError as error:
            raise InputError(
                f"the steps of this network {NOT_RECORDED} ({first_line(error)}); train without captured "
                "steps"
            ) from error
        return graph


@contextmanager
def on_stream(stream: torch.cuda.Stream | None) -> Iterator[None]:
    """What runs inside follows, on a stream of its own, all that was begun before; None: on no stream."""
    if stream is None:
        yield
        return
    with torch.cuda.stream(stream):
        yield
