"""The tasks of a network under a plan: its layers with their arrays, and the joins between them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace

from rankfold.chip.graph import Reading, Task, TaskGraph, rows_in_step, rows_read
from rankfold.cost.cycles import NetworkCycles
from rankfold.cost.energy.activity import StageActivity
from rankfold.cost.energy.engine import variables
from rankfold.cost.energy.network import NetworkEnergy
from rankfold.cost.kinds import AnyMapping
from rankfold.cost.layer_cycles import LayerCycles
from rankfold.cost.stored import stored_stage
from rankfold.mapping import Mapping
from rankfold.mapping.parts import PartsMapping
from rankfold.workload import ConvShape, Network
from rankfold.workload.flow import INPUT, chain

IMAGE_BITS = 8  # of a value of the input
JOINED_BITS = 8  # of what is joined and read by no layer


def task_graph(network: Network, placed: NetworkCycles, energy: NetworkEnergy) -> TaskGraph:
    """The tasks of a network under a plan.

    Args:
        network: the network.
        placed: all its layers on their arrays, fully connected ones among them, see `placed_cycles`.
        energy: what these arrays do, see `network_energy`.
    """
    builder = _Builder(network, placed, energy)
    for index, source in enumerate(builder.flow.reads):
        builder.join(source)
        builder.layer(index, source)
    return TaskGraph(tuple(builder.tasks), network.flow is None)


class _Builder:
    """Makes tasks in the order in which feature maps are made.

    Attributes:
        flow: what layers read.
        tasks: those made so far.
    """

    def __init__(self, network: Network, placed: NetworkCycles, energy: NetworkEnergy) -> None:
        self._placed, self._energy = placed, energy
        self.flow = network.flow or chain(network.layers)
        self.tasks = [_input(network)]
        self._joins = {join.name: join for join in self.flow.joins}
        self._made_by = {INPUT: 0}  # the task of the last stage of a layer, or of a join
        self._arrays: dict[Hashable, int] = {}  # homes of a task's stages: the number of their arrays
        self._bits = self._bits_of_joins()

    def join(self, name: str) -> None:
        """Append a join, and those that it reads, unless it is no join or there already."""
        join = self._joins.get(name)
        if join is None or name in self._made_by:
            return
        for source in join.sources:
            self.join(source)
        rows, bits = join.plane[0], self._bits[name]
        made = range(1, rows + 1)
        reads = []
        for source, values in zip(join.sources, join.values, strict=True):
            index = self._made_by[source]
            there = self.tasks[index].rows
            # A row that comes for one row of the join is not needed for the next.
            needs = rows_in_step(made, rows, there, join.whole)
            frees = needs if not join.whole else (0,) * (rows - 1) + (there,)
            reads.append(Reading(index, there, values * bits, needs, frees))
        self._append(
            name,
            Task(
                name=name,
                layer=None,
                rows=rows,
                window=1,
                reads=tuple(reads),
                operations=sum(join.values),
                driven=sum(reading.bits for reading in reads),
                made_bits=join.made * bits,
            ),
        )

    def layer(self, index: int, source: str) -> None:
        """Append a layer, or both stages of a pair."""
        layer = self._placed.layers[index]
        stages = side_by_side(layer.executed)
        if not stages:
            # Nothing is stored of it; who reads it reads what it reads.
            self._made_by[layer.shape.name] = self._made_by[source]
            return
        activities = iter(stage.activity for stage in self._energy.layers[index].stages)
        homes = iter(self._energy.homes[index])
        before = self._made_by[source]
        for number, together in enumerate(stages):
            own = [next(activities) for _ in together]
            name = layer.shape.name
            if len(stages) > 1:
                name = f"{name} ({number + 1})"
            reading = self._of_layer(layer, before, together, own[0], first=number == 0)
            task = _on_arrays(self._placed, self._energy, layer, together, own)
            key = tuple(next(homes) for _ in together)
            arrays = self._arrays.setdefault(key, len(self._arrays))
            self._append(
                layer.shape.name, replace(task, name=name, layer=index, reads=(reading,), arrays=arrays)
            )
            before = len(self.tasks) - 1

    def _append(self, made: str, task: Task) -> None:
        self._made_by[made] = len(self.tasks)
        self.tasks.append(task)

    def _of_layer(
        self,
        layer: LayerCycles,
        source: int,
        stages: Sequence[Mapping],
        activity: StageActivity,
        *,
        first: bool,
    ) -> Reading:
        """What the first stage of a layer reads of its source, or the second of the first."""
        shape, window = layer.shape, rows_at_once(layer.shape, stages)
        rows = self.tasks[source].rows
        if first:
            needs, frees = rows_read(shape, window, rows)
            bits = shape.in_channels * math.prod(shape.input) * activity.input_bits
            return Reading(source, rows, bits, needs, frees)
        height = shape.output[0]
        made = [min(height, end + window) for end in range(0, height, window)]
        needs = rows_in_step(made, height, rows)
        return Reading(source, rows, self.tasks[source].made_bits, needs, needs)

    def _bits_of_joins(self) -> dict[str, int]:
        """Bits with which what joins make is read: the most of those that do, directly or joined again."""
        found: dict[str, int] = {}
        for index, source in enumerate(self.flow.reads):
            stages = self._energy.layers[index].stages
            if stages:
                found[source] = max(found.get(source, 0), stages[0].activity.input_bits)
        # A join is made before those that read it.
        for join in reversed(self.flow.joins):
            bits = found.setdefault(join.name, JOINED_BITS)
            for source in join.sources:
                found[source] = max(found.get(source, 0), bits)
        return found


def _input(network: Network) -> Task:
    channels, height, width = network.input
    values = channels * height * width
    if network.inputs:
        # Numbers that are no tensors are settings, and do not come with every image.
        values = sum(math.prod(given.shape) for given in network.inputs if given.shape is not None)
    bits = values * IMAGE_BITS
    return Task(
        name=INPUT, layer=None, rows=height, window=1, reads=(), operations=0, driven=0, made_bits=bits
    )


def _on_arrays(
    placed: NetworkCycles,
    energy: NetworkEnergy,
    layer: LayerCycles,
    stages: Sequence[Mapping],
    activities: Sequence[StageActivity],
) -> Task:
    """The task of matrices that work side by side, without what it reads."""
    sums = sum(one.sums for one in activities)
    additions = sum(one.additions for one in activities)
    outputs = sum(one.outputs for one in activities)
    matrices: list[tuple[int, int]] = []
    for stage, activity in zip(stages, activities, strict=True):
        stored = stored_stage(stage, placed.array, activity.slices, layer.columns_per_weight)
        matrices += stored.loads
    crossing = 0.0
    if additions:
        # Sums of one tile, for all windows, go on to the tile that holds the next rows.
        wide = max(variables(energy.table, placed.array, one)["sum_bits"] for one in activities)
        crossing = sums / sum(tiles for tiles, _ in matrices) * wide
    return Task(
        name="",
        layer=None,
        rows=layer.shape.output[0],
        window=rows_at_once(layer.shape, stages),
        reads=(),
        operations=additions + outputs,
        driven=sum(one.inputs * one.input_bits for one in activities),
        made_bits=outputs * activities[0].input_bits,
        matrices=tuple(matrices),
        row_tiles=max(_row_parts(stage) for stage in stages),
        halo=(layer.shape.extent[1] - 1) / layer.shape.input[1],
        sums=crossing,
    )


def _row_parts(stage: Mapping) -> int:
    """Arrays among which the rows of a matrix, or of all blocks of its diagonal, are divided."""
    return max(stage.regions[0].stored.tile_count // stage.column_tiles, stage.row_tiles)


def side_by_side(mapping: AnyMapping) -> list[tuple[Mapping, ...]]:
    """The stages of a layer that work at once, one task after another."""
    if isinstance(mapping, PartsMapping):
        return [mapping.stages]  # none of them waits for another
    return [(stage,) for stage in mapping.stages]


def rows_at_once(shape: ConvShape, stages: Sequence[Mapping]) -> int:
    """Rows of a layer's output that the windows of matrices make at once, which work side by side.

    Args:
        shape: the layer.
        stages: what its arrays hold.
    """
    height = shape.output[0]
    rows = 1
    for stage in stages:
        # A stage may have a plane of its own: windows of a window layer, or a part of the plane.
        apart = 1
        if len(stages) == 1:
            apart = -(-height // stage.shape.output[0])
        rows = max(rows, stage.window[0] * apart)
    return min(rows, height)
