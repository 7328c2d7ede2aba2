"""`TaskGraph`: a network as the tasks of a chip, and what each needs of the others, row by row.

A task makes one feature map: on arrays (a layer, or one of the two stages of a low-rank pair), or in digital
units (a join of several). It works row by row of its output plane, in bundles of as many rows as its window
has; a bundle can begin when the rows that it reads are there, and what no later one reads can be forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rankfold.workload.shape import ConvShape


@dataclass(frozen=True)
class Reading:
    """What a task reads of another one.

    Attributes:
        source: index of the task that makes it.
        rows: of the source.
        bits: of all of it for an image, as it is sent: after pooling.
        needs: for each bundle of the reader, the rows of the source that must be there.
        frees: for each bundle, the rows of the source that nobody needs once it is made.
    """

    source: int
    rows: int
    bits: int
    needs: tuple[int, ...]
    frees: tuple[int, ...]

    @property
    def row_bits(self) -> float:
        """Of a row of the source."""
        return self.bits / self.rows

    @cached_property
    def needed(self) -> np.ndarray:
        """(bundles,) as `needs`."""
        return np.array(self.needs)

    @cached_property
    def freed(self) -> np.ndarray:
        """(bundles,) rows that each bundle frees."""
        return np.diff(self.frees, prepend=0)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One feature map and how it is made.

    Attributes:
        name: of the layer, with ` (1)` and ` (2)` for the stages of a pair; of the join; or `input`.
        layer: index of the layer in the network; None: a join, or the input.
        matrices: what its arrays hold, (tiles, activations of each for an image), all of which work side by
            side.
        arrays: tasks of one number run on the same arrays; None: on none.
        rows: of its output plane.
        window: rows that are made at once.
        reads: what it needs.
        operations: additions of partial sums, values joined, and values that pass activation and pooling, for
            an image.
        driven: bits that are read from the buffer, for an image: inputs of rows, or the values joined.
        made_bits: of its feature map for an image.
        row_tiles: arrays among which the rows of its matrix are divided: each reads a share of the channels.
        halo: share of a row of its input that windows on both sides of a cut between two copies read.
        sums: bits of partial sums that a tile hands to the one with the next rows, for all windows of an
            image.
    """

    name: str
    layer: int | None
    rows: int
    window: int
    reads: tuple[Reading, ...]
    operations: int
    driven: int
    made_bits: int
    matrices: tuple[tuple[int, int], ...] = ()
    arrays: int | None = None
    row_tiles: int = 1
    halo: float = 0.0
    sums: float = 0.0

    @property
    def bundles(self) -> int:
        """Of rows that are made at once."""
        return -(-self.rows // self.window)

    @property
    def tiles(self) -> int:
        """Arrays that hold its weights once."""
        return sum(tiles for tiles, _ in self.matrices)

    def made(self, bundle: int) -> int:
        """Rows that are there once a bundle is."""
        return min(self.rows, (bundle + 1) * self.window)

    @cached_property
    def taken(self) -> np.ndarray:
        """(bundles,) rows of each."""
        return np.diff([self.made(bundle) for bundle in range(self.bundles)], prepend=0)

    @cached_property
    def bundle_of_row(self) -> np.ndarray:
        """(rows,) the bundle in which each is made."""
        return np.arange(self.rows) // self.window


# Never equal to another one, so that what is made of one is found by it.
@dataclass(frozen=True, eq=False)
class TaskGraph:
    """A network on a chip, before it is placed.

    Attributes:
        tasks: each after those that it reads; the first is the input.
        assumed_chain: whether nothing said what layers read, so that each was taken to read the one before
            it.
    """

    tasks: tuple[Task, ...]
    assumed_chain: bool = False

    @property
    def on_arrays(self) -> dict[int, list[int]]:
        """The tasks of each set of arrays, in their order."""
        found: dict[int, list[int]] = {}
        for index, task in enumerate(self.tasks):
            if task.arrays is not None:
                found.setdefault(task.arrays, []).append(index)
        return found

    def added_in_place(self, reader: int, number: int) -> bool:
        """Whether a reading is that of a join whose source is made last: it is joined where it is made."""
        task = self.tasks[reader]
        last = max(reading.source for reading in task.reads)
        return task.arrays is None and task.reads[number].source == last

    @cached_property
    def readers(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For each task, who reads it: (task, which of its readings)."""
        found: list[list[tuple[int, int]]] = [[] for _ in self.tasks]
        for index, task in enumerate(self.tasks):
            for number, reading in enumerate(task.reads):
                found[reading.source].append((index, number))
        return tuple(tuple(readers) for readers in found)


def rows_read(shape: ConvShape, window: int, source: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the bundles of a convolution need of a feature map of `source` rows, and what they free.

    Output row r reads the input rows r s - p to r s - p + e - 1, with stride s, padding p above and the e
    rows that a kernel spans. Pooling and resampling lie between the source and this input: a share of the one
    is taken for the same share of the other, rounded up for what is needed and down for what is freed. A row
    that nothing reads is freed with the next one that is read, and the last ones with the last bundle: only
    what has come can be freed.

    Args:
        shape: the convolution.
        window: rows of the output that are made at once.
        source: rows of the feature map.

    Returns:
        (needs, frees), see `Reading`.
    """
    height = shape.input[0]
    needs, frees = [], []
    for first in range(0, shape.output[0], window):
        behind = min(first + window, shape.output[0])
        last = (behind - 1) * shape.stride[0] - shape.padding[0] + shape.extent[0] - 1
        read = min(max(last + 1, 0), height)
        free = min(max(behind * shape.stride[0] - shape.padding[0], 0), height)
        if behind == shape.output[0]:
            free = height
        needed = -(-read * source // height)
        if behind == shape.output[0]:
            needed = source
        needs.append(needed)
        frees.append(min(free * source // height, needed))
    return tuple(needs), tuple(frees)


def rows_in_step(made: Sequence[int], rows: int, source: int, whole: bool = False) -> tuple[int, ...]:
    """The rows of a feature map that so many rows of another plane take, share for share, rounded up.

    Args:
        made: rows of the other plane.
        rows: of that plane in all.
        source: rows of the feature map.
        whole: whether each of them takes all.
    """
    if whole:
        return (source,) * len(made)
    return tuple(-(-row * source // rows) for row in made)
