"""Where the tasks of a network are: copies of their tiles, and the cores that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from rankfold.chip.graph import Task, TaskGraph
from rankfold.cost.chip import copies_of_tiles
from rankfold.errors import InputError
from rankfold.machine import ChipSpec


@dataclass(frozen=True)
class Part:
    """What a core has of a task.

    Attributes:
        core: the core.
        share: of the task's arrays, or of its operations, and so of what it makes.
        needs: share of what the task reads that this core needs: its copies read a part of each row of the
            plane, and its tiles a part of the channels.
    """

    core: int
    share: float
    needs: float


@dataclass(frozen=True)
class Placement:
    """The arrays and cores of every task.

    Arrays are filled one set after another, copy after copy, and in each the tiles whose sums are added side
    by side, so that a core holds neighbours of the network.

    Attributes:
        copies: of each task, one number for each of its matrices; empty where it runs on no arrays.
        parts: of each task, in the order of cores.
        used: arrays in use.
    """

    copies: tuple[tuple[int, ...], ...]
    parts: tuple[tuple[Part, ...], ...]
    used: int

    def cores(self, task: int) -> tuple[int, ...]:
        """The cores that hold its arrays, or whose units compute it."""
        return tuple(part.core for part in self.parts[task])


def place(graph: TaskGraph, chip: ChipSpec, arrays: int) -> Placement:
    """Copies with which so many arrays are the fastest (exact), in cores one after another.

    Raises:
        InputError: the network has more tiles.
    """
    sets = graph.on_arrays
    loads = [_loads(graph, tasks) for tasks in sets.values()]
    tiles = sum(number for load in loads for number, _ in load)
    if tiles > arrays:
        raise InputError(f"the network needs {tiles:,} arrays for its weights to stay, and has {arrays:,}")
    return place_copies(graph, chip, copies_of_tiles(loads, arrays))


def place_copies(graph: TaskGraph, chip: ChipSpec, copies: Sequence[Sequence[int]]) -> Placement:
    """Copies of all tiles in cores one after another.

    A join is computed where the last of its sources is made, each core adding to what it makes itself.

    Args:
        graph: the network.
        chip: the chip.
        copies: of each set of arrays, one number for each of its matrices.
    """
    sets = graph.on_arrays
    loads = [_loads(graph, tasks) for tasks in sets.values()]
    bounds = [0, *accumulate(_held(load, each) for load, each in zip(loads, copies, strict=True))]
    places = dict(zip(sets, pairwise(bounds), strict=True))
    own_copies = dict(zip(sets, copies, strict=True))
    parts: list[tuple[Part, ...]] = []
    copied: list[tuple[int, ...]] = []
    for task in graph.tasks:
        own: tuple[int, ...] = ()
        if task.arrays is not None:
            own = tuple(own_copies[task.arrays])
            parts.append(_parts(task, places[task.arrays], max(own_copies[task.arrays]), chip.cores.arrays))
        elif task.reads:
            last = parts[max(reading.source for reading in task.reads)]
            parts.append(tuple(Part(part.core, part.share, part.share) for part in last))
        else:
            parts.append((Part(0, 1.0, 1.0),))  # the input comes in at the first core
        copied.append(own)
    return Placement(
        tuple(copied),
        tuple(parts),
        bounds[-1],
    )


def _loads(graph: TaskGraph, tasks: Sequence[int]) -> list[tuple[int, int]]:
    """(tiles, activations of each) of a set of arrays, for all tasks that run on it."""
    matrices = graph.tasks[tasks[0]].matrices
    times = [0] * len(matrices)
    for index in tasks:
        for place, (_, activations) in enumerate(graph.tasks[index].matrices):
            times[place] += activations
    return [(tiles, each) for (tiles, _), each in zip(matrices, times, strict=True)]


def _held(load: Sequence[tuple[int, int]], copies: Sequence[int]) -> int:
    return sum(tiles * number for (tiles, _), number in zip(load, copies, strict=True))


def _parts(task: Task, place: tuple[int, int], copies: int, size: int) -> tuple[Part, ...]:
    """The cores, of `size` arrays each, that hold the arrays from `first` to before `behind`."""
    first, behind = place
    parts = []
    for core in range(first // size, (behind - 1) // size + 1):
        own_first, own_behind = max(first, core * size) - first, min(behind, (core + 1) * size) - first
        share = (own_behind - own_first) / (behind - first)
        parts.append(Part(core, share, _needs(task, own_first, own_behind, copies, behind - first)))
    return tuple(parts)


def _needs(task: Task, first: int, behind: int, copies: int, arrays: int) -> float:
    """The share of what a task reads that the arrays from `first` to before `behind` of it need.

    Each of k copies has a k-th of the windows of a row, and reads what these do; of a copy of which only some
    arrays are here, only as many of its channels as of the arrays among which its rows are divided. Windows
    on both sides of a cut between copies that are here and others read some columns twice. Where a task has
    several matrices, each with copies of its own, a copy that is touched is taken to need all channels.
    """
    each = arrays / copies
    channels = []
    for copy in range(first * copies // arrays, (behind - 1) * copies // arrays + 1):
        here = min(behind, (copy + 1) * each) - max(first, copy * each)
        share = 1.0
        if len(task.matrices) == 1:
            share = min(here / task.row_tiles, 1.0)
        channels.append(share)
    halo = 0.0
    if len(channels) < copies:
        halo = task.halo * max(channels)
    return min(sum(channels) / copies + halo, 1.0)
