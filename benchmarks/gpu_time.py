"""Time that is spent on a GPU: when it ends, and what this machine trains in it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rankfold.files import write_json
from rankfold.progress import Silent

# Images/s in all, before anything was measured: what the ordinary loop has reached on an H200 with ResNet-20,
# and that divided by the ratio of multiply-accumulates.
GUESSES = {"resnet20": 30_000.0, "wrn16-4": 1_300.0}


class OutOfTime(BaseException):
    """The time is up; no Exception, so that nothing takes it for the fault of a cell."""


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Inside, `OutOfTime` is raised after so long."""

    def ring(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Lines(Silent):
    """Says what is worth keeping, a line each, and ends a training when its time is up.

    The alarm rings once, and is lost where it interrupts what lets no exception through; batches are many.

    Args:
        until: end of the time, as `time.monotonic` counts.
    """

    def __init__(self, until: float) -> None:
        self._until = until

    def advance(self, count: int = 1, detail: str = "") -> None:
        """Raise `OutOfTime` where it is time."""
        if time.monotonic() > self._until:
            raise OutOfTime

    def end(self, summary: str = "") -> None:
        """Print the summary."""
        if summary:
            self.note(summary)

    def note(self, text: str) -> None:
        """Print it."""
        print(text, flush=True)


class Speeds:
    """Images/s in all that this machine has shown, with all work but planning.

    By network, images in a batch and cells at once.

    Args:
        path: of the file that keeps them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}

    def of(self, model: str, batch: int, together: int) -> float:
        """What was measured last with so many, else with other numbers of cells, else the guess."""
        kind = f"{model} of {batch} x"
        others = [rate for key, rate in self._known.items() if key.startswith(kind)]
        return self._known.get(f"{kind}{together}") or min(others, default=GUESSES.get(model, 1_000.0))

    def note(self, model: str, batch: int, together: int, rate: float) -> None:
        """Keep what was measured."""
        self._known[f"{model} of {batch} x{together}"] = rate
        write_json(self._path, self._known)
