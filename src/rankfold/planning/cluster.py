"""Layers as Ray tasks: what they may become is found on a cluster, with the same results as here."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from rankfold.planning.exact import LayerChoices
from rankfold.planning.exact.slots import LayerSlot
from rankfold.planning.layer_runners import find_layer, memory_of
from rankfold.planning.layer_work import LayerWork
from rankfold.ray_cluster import RETRIES, OnRay, load_ray, machines, slots


@dataclass(frozen=True)
class RayLayers(OnRay):
    """Every layer is a task of one core, which Ray starts again if its worker dies.

    A task gets all that it needs with it: machines need Rankfold, but neither the data nor the network. Of a
    machine's memory Ray gives each task what its layer takes.
    """

    def __call__(
        self, work: Callable[[LayerSlot], LayerWork], order: Sequence[LayerSlot]
    ) -> Generator[LayerChoices]:
        """As `layer_runners.LayerRunner`, on the cluster that `connect` found."""
        ray = load_ray()
        try:
            task = ray.remote(find_layer)
            waiting = list(order)
            running: list[Any] = []
            while waiting or running:
                # As many as run at once: what a layer needs is not sent long before.
                while waiting and len(running) < slots(ray):
                    slot = waiting.pop(0)
                    running.append(task.options(**self._needs(ray, slot)).remote(work(slot)))
                (ended, *_), running = ray.wait(running, num_returns=1)
                yield ray.get(ended)
        finally:
            # Also where the user interrupts: tasks would go on and hold the cluster's cores.
            ray.shutdown()

    @staticmethod
    def _needs(ray: Any, slot: LayerSlot) -> dict[str, Any]:
        """What Ray is told of a task."""
        # None asks for more memory than there is on any machine, where it would wait for ever.
        most = max((machine.get("memory", 0) for machine in machines(ray)), default=0)
        return {"num_cpus": 1, "max_retries": RETRIES, "memory": min(memory_of(slot), int(most))}
