"""`TogetherRunner`: cells of a grid, several at a time on one device, each on a stream of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rankfold.errors import InputError
from rankfold.progress import Progress
from rankfold.reproduce.cell import Outcome, Work, in_words
from rankfold.reproduce.grid import Cell
from rankfold.runs.run import Begun, end
from rankfold.runs.steps import fine_tune_together


class TogetherRunner:
    """A `run.Runner` that fine-tunes several cells at once in this process, by static steps.

    What comes before and after the fine-tuning, each cell does in turn. Cells that are taken together end
    together, so that nothing is gained by more of them than the device has room for.

    Args:
        networks: how many.
        backend: of `torch.compile`, for passes of quantisers; None: they are not compiled.

    Raises:
        InputError: it is less than one.
    """

    def __init__(self, networks: int, backend: str | None = None) -> None:
        if networks < 1:
            raise InputError(f"networks that are trained together (={networks}) must be 1 or more")
        self.networks, self.backend = networks, backend

    def __call__(
        self,
        work: Work,
        cells: Sequence[Cell],
        go_on: Callable[[], bool],
        progress: Progress,
    ) -> Iterator[Outcome]:
        """As `run.Runner`: cells that are trained together are begun together."""
        for first in range(0, len(cells), self.networks):
            if not go_on():
                return
            yield from run_group(work, cells[first : first + self.networks], progress, self.backend)


def run_group(
    work: Work, cells: Sequence[Cell], progress: Progress, backend: str | None = None
) -> Iterator[Outcome]:
    """What becomes of cells that are fine-tuned together; one that fails does not stop the others.

    Args:
        work: their grid and its folder.
        cells: at least one.
        progress: hears of them by their names.
        backend: of `torch.compile`, for passes of quantisers; None: they are not compiled.
    """
    begun: list[tuple[Cell, Begun]] = []
    for cell in cells:
        progress.note(f"-- {cell.name}")
        try:
            ready = work.begin(cell, Named(progress, cell.name))
            if ready.known is None:
                begun.append((cell, ready))
                # Each has loaded the grid's data: those of the first do for all, and are on the device once.
                ready.state.data = begun[0][1].state.data
                continue
            outcome = work.measured(cell)
        except Exception as error:  # as when cells run one by one
            outcome = Outcome(cell, error=in_words(error))
        yield outcome
    if not begun:
        return
    errors: Sequence[Exception | None]
    try:
        errors = fine_tune_together([ready.state for _, ready in begun], backend)
    except Exception as error:  # of the device or a compiler, which may be that of any of them
        errors = [error] * len(begun)
    for (cell, ready), found in zip(begun, errors, strict=True):
        try:
            if found is not None:
                raise found
            end(ready)
            outcome = work.measured(cell)
        except Exception as fault:
            outcome = Outcome(cell, error=in_words(fault))
        yield outcome


class Named:
    """A progress that several share: lines with a name before them, and no parts of their own.

    Args:
        progress: that hears of all.
        name: of this one.
    """

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name = progress, name

    def begin(self, what: str, total: int, unit: str = "images") -> None:
        """Say nothing: parts of several would lie in each other."""

    def advance(self, count: int = 1, detail: str = "") -> None:
        """Pass it on."""
        self._progress.advance(count, detail)

    def end(self, summary: str = "") -> None:
        """Say what came of the part."""
        if summary:
            self.note(summary)

    def note(self, text: str) -> None:
        """Say it, with the name; tables are left to the files of the run."""
        if "\n" not in text:
            self._progress.note(f"{self._name}: {text}")
