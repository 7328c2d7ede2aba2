"""Cells as Ray tasks: placed, retried and watched by Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankfold.errors import InputError
from rankfold.progress import Progress
from rankfold.ray_cluster import RETRIES, OnRay, load_ray, machines
from rankfold.reproduce.cell import Outcome, Work, in_words
from rankfold.reproduce.grid import Cell

GROWTH = 60  # seconds for a machine to join that can hold a cell


@dataclass(frozen=True)
class RayRunner(OnRay):
    """Every cell is a task, which Ray starts again if its worker dies; it then goes on from its last epoch.

    All machines need Rankfold, the data and the results under the same paths.

    Attributes:
        cores: processor cores of each task, and threads that it uses.
        gpus: GPUs of each task.
    """

    cores: int = 1
    gpus: float = 0

    def __post_init__(self) -> None:
        if self.cores < 1 or self.gpus < 0:
            raise InputError(f"cores (={self.cores}) must be 1 or more, and gpus (={self.gpus}) 0 or more")

    def __call__(
        self,
        work: Work,
        cells: Sequence[Cell],
        go_on: Callable[[], bool],
        progress: Progress,
    ) -> Iterator[Outcome]:
        """As `run.Runner`, on the cluster that `connect` found."""
        ray = load_ray()
        try:
            # Also where the user interrupts: tasks would go on and hold the cluster's cores.
            yield from self._run(ray, work, cells, go_on, progress)
        finally:
            ray.shutdown()

    def _run(
        self,
        ray: Any,
        work: Work,
        cells: Sequence[Cell],
        go_on: Callable[[], bool],
        progress: Progress,
    ) -> Iterator[Outcome]:
        # A task that is started again goes on from its checkpoint, so a retry costs an epoch at most.
        task = ray.remote(run_cell).options(num_cpus=self.cores, num_gpus=self.gpus, max_retries=RETRIES)
        waiting = list(cells)
        running: dict[Any, Cell] = {}
        patience = GROWTH
        while waiting or running:
            # As many tasks as run at once, and no more waiting at the cluster: those that wait here are not
            # begun when the time is up.
            # Asked each time, as clusters grow and lose machines.
            slots = self._slots(ray)
            while waiting and len(running) < slots and go_on():
                cell = waiting.pop(0)
                progress.note(f"-- {cell.name}")
                running[task.remote(work, cell, self.cores)] = cell
            if not running:
                if not go_on():
                    return
                # A cluster may still be growing.
                if patience == 0:
                    raise InputError(self._too_small())
                patience -= 1
                time.sleep(1)
                continue
            patience = GROWTH
            # One at a time: what is done is told at once, and its place is filled.
            (ended, *_), _ = ray.wait(list(running), num_returns=1)
            cell = running.pop(ended)
            try:
                # What goes wrong in a cell is part of its outcome; Ray raises where a worker itself is lost.
                yield ray.get(ended)
            except ray.exceptions.RayError as error:
                yield Outcome(cell, error=in_words(error))

    def _slots(self, ray: Any) -> int:
        """Tasks that the cluster can hold at a time."""
        # Machine by machine: the cores of a task are those of one.
        return sum(self._slots_of(machine) for machine in machines(ray))

    def _slots_of(self, machine: Mapping[str, float]) -> int:
        slots = int(machine.get("CPU", 0) // self.cores)
        if self.gpus:
            # Ten tasks of a tenth fit one GPU, though 1 // 0.1 is 9.
            slots = min(slots, math.floor(machine.get("GPU", 0) / self.gpus + 1e-9))
        return slots

    def _too_small(self) -> str:
        needed = f"{self.cores} cores"
        if self.gpus:
            needed += f" and {self.gpus:g} GPUs"
        return (
            f"no machine of the Ray cluster at {self.address} has the {needed} that each cell needs; "
            "ask for fewer (--threads, --gpus), or add a machine"
        )


def run_cell(work: Work, cell: Cell, threads: int) -> Outcome:
    """The task: one cell, in a worker process."""
    import torch

    # Ray reserves cores and does not hold tasks to them: each limits its own threads.
    torch.set_num_threads(threads)
    return work(cell)
