"""Where the tasks of a network are: copies of their tiles, and the cores that hold them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from rankfold.chip.graph import TaskGraph
from rankfold.cost.chip import copies_of_tiles
from rankfold.errors import InputError
from rankfold.machine import ChipSpec


@dataclass(frozen=True)
class Placement:
    """The arrays and cores of every task.

    Arrays are filled one set after another, so that a core holds neighbours of the network and a set
    stretches over as few cores as its size and place allow, but for one.

    Attributes:
        copies: of each task, one number for each of its matrices; empty where it runs on no arrays.
        shares: of each task, (core, share of its arrays), the core that gathers its feature map first.
        used: arrays in use.
    """

    copies: tuple[tuple[int, ...], ...]
    shares: tuple[tuple[tuple[int, float], ...], ...]
    used: int

    def home(self, task: int) -> int:
        """The core that gathers what a task makes, and sends it on."""
        return self.shares[task][0][0]

    def cores(self, task: int) -> tuple[int, ...]:
        """The cores that hold its arrays, or whose units compute it."""
        return tuple(core for core, _ in self.shares[task])


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
    copies = copies_of_tiles(loads, arrays)
    held = [_held(load, each) for load, each in zip(loads, copies, strict=True)]
    bounds = [0, *accumulate(held)]
    places = {
        number: _in_cores(first, behind, chip.cores.arrays)
        for number, (first, behind) in zip(sets, pairwise(bounds), strict=True)
    }
    own_copies = dict(zip(sets, copies, strict=True))
    shares: list[tuple[tuple[int, float], ...]] = []
    for task in graph.tasks:
        if task.arrays is not None:
            shares.append(places[task.arrays])
        elif task.reads:
            # Joined where the last of the sources is made.
            home = shares[max(reading.source for reading in task.reads)][0][0]
            shares.append(((home, 1.0),))
        else:
            shares.append(((0, 1.0),))  # the input comes in at the first core
    return Placement(
        tuple(() if task.arrays is None else tuple(own_copies[task.arrays]) for task in graph.tasks),
        tuple(shares),
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


def _in_cores(first: int, behind: int, size: int) -> tuple[tuple[int, float], ...]:
    """(core, share) of the arrays from `first` to before `behind`, in cores of `size` arrays."""
    counted: Counter[int] = Counter()
    for core in range(first // size, (behind - 1) // size + 1):
        counted[core] = min(behind, (core + 1) * size) - max(first, core * size)
    return tuple((core, number / (behind - first)) for core, number in counted.items())
