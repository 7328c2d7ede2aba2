"""A chip whose weights are written anew for each image: how long that takes, and what is written.

One stage after another has the arrays. Arrays are written side by side, each one row after another; the
copies of a tile are written one after another, since its weights come from memory once. So k copies of a tile
of w cycles to write and n activations take k*w + ceil(n/k) cycles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rankfold.cost.makespan import makespan
from rankfold.cost.stored import StoredStage


@dataclass(frozen=True)
class Job:
    """Tiles of one stage that take equally long.

    Attributes:
        tiles: how many there are.
        times: activations of each for an image.
        write: cycles that writing one takes.
        cells: cells of one that are written.
    """

    tiles: int
    times: int
    write: int
    cells: int

    @property
    def load(self) -> tuple[int, int]:
        """(tiles, cycles of each), with writing."""
        return self.tiles, self.times + self.write


@dataclass(frozen=True)
class Rewriting:
    """How a chip runs a network whose weights are written anew for each image.

    Attributes:
        latency: cycles of an image, with writing.
        writing: of these, cycles that would be saved if writing took none; a batch of images that goes
            through layer by layer shares them.
        kept: tiles that stay where they are.
        written: tiles that are written for each image, copies included.
        cells: cells that are written for each image.
    """

    latency: int
    writing: int
    kept: int
    written: int
    cells: int


def rewriting(
    stages: Sequence[StoredStage], arrays: int, row_write: float = 0.0, reference: int = 0
) -> Rewriting:
    """The fastest way found to run a network whose weights are rewritten.

    Either all arrays serve one stage after another, in copies where they are more than its tiles; or, where
    writing takes time, most tiles keep an array, and those that are written and done the fastest share the
    others, of which powers of two are tried.

    Args:
        stages: the stored convolutions in their order.
        arrays: P.
        row_write: cycles that writing a row of an array takes.
        reference: columns that are written beside those of the weights.
    """
    jobs = [_jobs(stage, row_write, reference) for stage in stages]
    best = _all_rewritten(jobs, arrays)
    tiles = sum(job.tiles for stage in jobs for job in stage)
    if row_write and tiles > arrays:
        shared = 1
        while shared < arrays:
            found = _partly_rewritten(jobs, tiles - (arrays - shared), shared)
            best = min(best, found, key=lambda way: (way.latency, way.cells))
            shared *= 2
    return best


def _jobs(stage: StoredStage, row_write: float, reference: int) -> list[Job]:
    jobs = []
    for tiles in stage.tiles:
        for (rows, columns), number in tiles.sizes:
            write = math.ceil(rows * row_write)
            jobs.append(Job(number, tiles.times, write, rows * (columns + reference)))
    return jobs


def _all_rewritten(stages: Sequence[Sequence[Job]], arrays: int) -> Rewriting:
    """Every stage in its turn on all arrays."""
    latency = working = written = cells = 0
    for jobs in stages:
        working += makespan([(job.tiles, job.times) for job in jobs], arrays)
        if sum(job.tiles for job in jobs) > arrays:
            latency += makespan([job.load for job in jobs], arrays)
            copies = [1] * len(jobs)
        else:
            cycles, copies = _copied(jobs, arrays)
            latency += cycles
        for job, number in zip(jobs, copies, strict=True):
            written += job.tiles * number
            cells += job.tiles * number * job.cells
    return Rewriting(latency, latency - working, 0, written, cells)


def _copied(jobs: Sequence[Job], arrays: int) -> tuple[int, list[int]]:
    """The fewest cycles of a stage with fewer tiles than arrays, and the fewest copies that reach it."""
    low, high = 1, max(job.times + job.write for job in jobs)
    while low < high:
        middle = (low + high) // 2
        copies = [_fewest_copies(job, middle) for job in jobs]
        if (
            all(copies)
            and sum(job.tiles * number for job, number in zip(jobs, copies, strict=True)) <= arrays
        ):
            high = middle
        else:
            low = middle + 1
    return low, [_fewest_copies(job, low) for job in jobs]


def _fewest_copies(job: Job, cycles: int) -> int:
    """The fewest copies of a tile that are written and done within so many cycles; 0: none are.

    k copies are where k*w + ceil(n/k) <= t, which in whole numbers says w*k^2 - t*k + n <= 0: k lies between
    the roots of a parabola, (t -+ sqrt(t^2 - 4*w*n)) / 2w.
    """
    if not job.write:
        return -(-job.times // cycles)
    square = cycles * cycles - 4 * job.write * job.times
    if square < 0:
        return 0
    # The root rounded up, so that the first k to look at is not above the least.
    root = math.isqrt(square) + 1
    copies = max(1, -((root - cycles) // (2 * job.write)))
    while 2 * job.write * copies <= cycles + root:
        if job.write * copies * copies - cycles * copies + job.times <= 0:
            return copies
        copies += 1
    return 0


def _partly_rewritten(stages: Sequence[Sequence[Job]], moved: int, arrays: int) -> Rewriting:
    """So many tiles share some arrays, the others have an array each; those share that are done the fastest.

    A stage takes as long as the slowest tile that stays, or as all those of its tiles that share the arrays.
    """
    every = [(job.times + job.write, place) for place, jobs in enumerate(stages) for job in jobs]
    # How many of which stage move, and of which length: the shortest first, until they are enough.
    left = moved
    limits: dict[tuple[int, int], int] = {}
    for length, place in sorted(set(every)):
        there = sum(job.tiles for job in stages[place] if job.times + job.write == length)
        limits[length, place] = min(left, there)
        left -= limits[length, place]
    latency = working = cells = 0
    for place, jobs in enumerate(stages):
        staying = 0
        moving = []
        for job in jobs:
            key = job.times + job.write, place
            number = min(job.tiles, limits[key])
            limits[key] -= number
            if number:
                moving.append(Job(number, job.times, job.write, job.cells))
                cells += number * job.cells
            if number < job.tiles:
                staying = max(staying, job.times)
        shared = free = 0
        if moving:
            # No more arrays than tiles: copies would be written, too.
            used = min(arrays, sum(job.tiles for job in moving))
            shared = makespan([job.load for job in moving], used)
            free = makespan([(job.tiles, job.times) for job in moving], used)
        latency += max(staying, shared)
        working += max(staying, free)
    tiles = sum(job.tiles for jobs in stages for job in jobs)
    return Rewriting(latency, max(0, latency - working), tiles - moved, moved, cells)
