"""What sits on a chip and where: the layers on its arrays, with number and colour, core by core."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from rankfold.chip.graph import Task
from rankfold.chip.run import ChipRun, Pipeline
from rankfold.report.chip_page.colours import JOIN, layer_colour


@dataclass(frozen=True)
class PlacedLayer:
    """Weights that arrays hold: of a layer, of a stage of a pair, or of layers that share them.

    Attributes:
        number: from 1, in the network's order; what pictures call it.
        name: of the layers.
        colour: of it.
        tiles: arrays that hold its weights once.
        arrays: with all copies.
    """

    number: int
    name: str
    colour: str
    tiles: int
    arrays: int


@dataclass(frozen=True)
class Resident:
    """A part of a layer in a core.

    Attributes:
        layer: which one.
        arrays: of the core that it has.
    """

    layer: PlacedLayer
    arrays: int


@dataclass
class CoreContent:
    """What is in a core.

    Attributes:
        layers: on its arrays, as these are filled.
        joins: feature maps of which at least a part is joined there.
        buffered: bytes that its buffer has to hold.
    """

    layers: list[Resident] = field(default_factory=list)
    joins: list[str] = field(default_factory=list)
    buffered: float = 0.0

    @property
    def arrays(self) -> int:
        """Arrays in use."""
        return sum(part.arrays for part in self.layers)


@dataclass(frozen=True)
class Residents:
    """What sits on a chip.

    Attributes:
        layers: on arrays, in the network's order.
        of_task: of each task, the layer on whose arrays it runs; None: it runs on none.
        cores: those with anything, by number.
    """

    layers: tuple[PlacedLayer, ...]
    of_task: tuple[PlacedLayer | None, ...]
    cores: dict[int, CoreContent]

    def colour(self, task: int) -> str:
        """Of a task."""
        layer = self.of_task[task]
        if layer is None:
            return JOIN
        return layer.colour

    def label(self, task: Task, index: int) -> str:
        """A task's name behind its number, where it has one."""
        layer = self.of_task[index]
        if layer is None:
            return task.name
        return f"{layer.number}  {task.name}"


def residents(run: ChipRun, pipeline: Pipeline) -> Residents:
    """What sits on the chip of a run whose weights stay."""
    graph, placement = run.graph, pipeline.placement
    cores: defaultdict[int, CoreContent] = defaultdict(CoreContent)
    of_task: list[PlacedLayer | None] = [None] * len(graph.tasks)
    layers: list[PlacedLayer] = []
    for tasks in graph.on_arrays.values():
        layer = _placed(run, pipeline, tasks, len(layers))
        layers.append(layer)
        for index in tasks:
            of_task[index] = layer
        for part in placement.parts[tasks[0]]:
            cores[part.core].layers.append(Resident(layer, round(part.share * layer.arrays)))
    for index, task in enumerate(graph.tasks):
        if task.arrays is None and task.reads:
            for core in placement.cores(index):
                cores[core].joins.append(task.name)
    for core, held in pipeline.timing.buffers.items():
        cores[core].buffered = held
    return Residents(tuple(layers), tuple(of_task), dict(sorted(cores.items())))


def _placed(run: ChipRun, pipeline: Pipeline, tasks: list[int], place: int) -> PlacedLayer:
    first = run.graph.tasks[tasks[0]]
    arrays = 0
    for (tiles, _), copies in zip(first.matrices, pipeline.placement.copies[tasks[0]], strict=True):
        arrays += tiles * copies
    return PlacedLayer(
        number=place + 1,
        name=", ".join(run.graph.tasks[index].name for index in tasks),
        colour=layer_colour(place),
        tiles=first.tiles,
        arrays=arrays,
    )
