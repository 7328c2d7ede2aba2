"""Points as Ray tasks: on more machines than this one, and started again where a worker dies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rankfold.explore.evaluate import Evaluator
from rankfold.explore.outcome import Outcome
from rankfold.explore.runners import Chunk, Evaluate
from rankfold.ray_cluster import RETRIES, OnRay, load_ray, slots


@dataclass(frozen=True)
class RayPool(OnRay):
    """Every chunk of points is a task of one core, which Ray starts again if its worker dies.

    Machines need Rankfold and its component tables, but no data.
    """

    @contextmanager
    def opened(self, evaluator: Evaluator) -> Iterator[Evaluate]:
        """As `runners.Runner`, on the cluster that `connect` found."""
        ray = load_ray()
        try:
            task = ray.remote(evaluate_points).options(num_cpus=1, max_retries=RETRIES)
            sent = ray.put(evaluator)
            yield lambda chunks: _run(ray, lambda chunk: task.remote(sent, chunk), chunks)
        finally:
            # Also where the user interrupts: tasks would go on and hold the cluster's cores.
            ray.shutdown()


def _run(ray: Any, begin: Callable[[Chunk], Any], chunks: Iterable[Chunk]) -> Iterator[list[Outcome]]:
    running: list[Any] = []
    for chunk in chunks:
        running.append(begin(chunk))
        # As many as run at once, asked each time, as clusters grow and lose machines.
        while len(running) >= slots(ray):
            (ended, *_), running = ray.wait(running, num_returns=1)
            yield ray.get(ended)
    while running:
        (ended, *_), running = ray.wait(running, num_returns=1)
        yield ray.get(ended)


def evaluate_points(evaluator: Evaluator, chunk: Chunk) -> list[Outcome]:
    """The task, in a worker process, which keeps from one chunk to the next what points have in common."""
    return evaluator(chunk)
