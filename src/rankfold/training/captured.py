"""`Captured`: a function of no arguments as one CUDA graph; on a processor, the function itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from rankfold.errors import InputError, first_line

# Calls before the recording, in which libraries choose kernels and reserve memory.
WARM_UP = 3


class Captured:
    """Calls a function, on a GPU from the fourth call on by playing what its third recording would do.

    A GPU gets the few thousand operations of a step of training one by one from the host, which takes longer
    than to compute them. They are recorded once and sent as one from then on (a CUDA graph). So the function
    must do the same operations on the same memory each time, and never wait for a value; what it does on the
    host is done for the first calls alone. All of them run on a stream of their own, `stream`, which whoever
    calls has to make the current one (`on_stream`).

    Args:
        function: what is called.
        device: where it works.
    """

    def __init__(self, function: Callable[[], None], device: torch.device) -> None:
        self._function = function
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
        if self.stream is None or self._calls <= WARM_UP:
            self._function()
            return
        if self._graph is None:
            self._graph = self._recorded(self.stream)
        self._graph.replay()

    def _recorded(self, stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
        """A graph of the function, which is not run by it."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=stream):
                self._function()
        # Of torch, and of this kind for all that CUDA refuses.
        except RuntimeError as error:
            raise InputError(
                f"the steps of this network cannot be recorded ({first_line(error)}); train without captured "
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
