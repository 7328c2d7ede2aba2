"""Progress bars with images per second and time left."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

from rankfold.plan import Coverage
from rankfold.report.coverage import coverage_table
from rankfold.training.loop import EpochRecord, Watcher


class Bars:
    """An observer that draws one bar per epoch on standard error and prints a line per epoch."""

    def stage(self, name: str) -> Watcher:
        """A new training stage."""
        return _Stage(name)

    def covered(self, coverage: Coverage) -> None:
        """Print the table of all layers."""
        print(coverage_table(coverage), end="\n\n", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Print the note."""
        print(text, file=sys.stderr, flush=True)


class _Stage:
    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: tqdm[Any] | None = None

    def epoch_begins(self, epoch: int, epochs: int, images: int) -> None:
        self._bar = tqdm(
            total=images, desc=f"{self._name} {epoch}/{epochs}", unit=" images", unit_scale=False, leave=False, mininterval=0.5,
            disable=not sys.stderr.isatty(), dynamic_ncols=True,
        )  # fmt: skip
        self._epochs = epochs

    def batch_done(self, images: int) -> None:
        if self._bar is not None:
            self._bar.update(images)

    def epoch_ends(self, record: EpochRecord) -> None:
        if self._bar is not None:
            self._bar.close()
        tested = "" if record.test_accuracy is None else f", test {record.test_accuracy:.2%}"
        left = record.seconds * (self._epochs - record.epoch)
        print(
            f"{self._name} {record.epoch}/{self._epochs}: loss {record.train_loss:.4f}, "
            f"train {record.train_accuracy:.2%}{tested}, {record.images_per_second:.0f} images/s, {_duration(left)} left",
            file=sys.stderr,
            flush=True,
        )


class Steps:
    """Progress of work in parts, one bar for each part on standard error."""

    def __init__(self, unit: str = "images") -> None:
        self._unit = unit
        self._bar: tqdm[Any] | None = None

    def begin(self, what: str, images: int) -> None:
        """Draw a new bar."""
        self.end()
        self._bar = tqdm(
            total=images, desc=what, unit=f" {self._unit}", leave=False, mininterval=0.5, disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )  # fmt: skip

    def advance(self, images: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(images)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
