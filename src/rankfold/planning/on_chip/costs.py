"""What candidates need of a described chip, whatever the copies, the places and the traffic.

Of what `chip.run` counts this much is a sum over layers, or can be told of each layer alone:

- **Arrays.** For an interval of t activations a tile of n activations needs ceil(n / t) copies, so that a
  candidate needs a(t) = sum over its tiles of ceil(n / t) arrays, and the chip keeps the interval exactly
  where these add up to no more than it has (as in `chip.mappings`).
- **Energy** of arrays and converters, of the additions of partial sums, of activations, of what is driven
  from buffers and written there once: by the component table of the chip, with its own figures in the place
  of what it describes.

What is missing is never negative: partial sums and feature maps on their way, further copies in buffers,
leakage, and waiting. So these costs are bounds of the chip's, and the best choice by them is a bound of all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankfold.chip.energy import FJ, chip_table
from rankfold.chip.graph import TaskGraph
from rankfold.chip.tasks import rows_at_once, side_by_side
from rankfold.cost.planned import array_mapping
from rankfold.cost.stored import runs_of_weight, stored_stages
from rankfold.machine import ChipSpec
from rankfold.plan import LayerPlan, Plan
from rankfold.planning.exact import ENERGY, Candidate, LayerChoices
from rankfold.planning.exact.costing import Costing
from rankfold.workload import Network


@dataclass(frozen=True)
class Matrices:
    """What a candidate has on arrays.

    Attributes:
        loads: (tiles, activations of each for an image) of each matrix.
        tasks: that come one after another: two of a low-rank pair, none where nothing is stored.
        rows: of the output that the task of the most bundles makes at once.
    """

    loads: tuple[tuple[int, int], ...] = ()
    tasks: int = 0
    rows: int = 1


@dataclass(frozen=True)
class Loads:
    """The matrices of all candidates of a layer.

    Attributes:
        tiles: (candidates, most matrices of any) tiles of each; 0 where one has fewer matrices.
        times: likewise, activations of each tile for an image.
        tasks: (candidates,) as `Matrices.tasks`.
        rows: (candidates,) as `Matrices.rows`.
    """

    tiles: np.ndarray
    times: np.ndarray
    tasks: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, candidates: Sequence[Matrices]) -> Loads:
        """Of these candidates."""
        most = max(1, *(len(one.loads) for one in candidates))
        padded = np.array([[*one.loads, *[(0, 1)] * (most - len(one.loads))] for one in candidates])
        tasks = np.array([one.tasks for one in candidates])
        rows = np.array([one.rows for one in candidates])
        return cls(padded[..., 0], padded[..., 1], tasks, rows)  # padded: (K, most, 2)

    def arrays(self, interval: int) -> np.ndarray:
        """(candidates,) with which each keeps an interval."""
        return np.asarray((self.tiles * -(-self.times // interval)).sum(axis=1))

    @property
    def longest(self) -> np.ndarray:
        """(candidates,) activations of the busiest tile of each."""
        return np.where(self.tiles > 0, self.times, 0).max(axis=1)


class ChipCosts:
    """The candidates of all layers of a network as a chip counts them.

    Args:
        network: the network.
        chip: the chip.
        choices: what layers may become; energies that were counted are those of `chip_table`.
        dense: the plan that keeps all layers dense, on the chip's hardware.
        graph: the tasks of the network kept dense, of whose joins the units' work is the same in any plan.

    Attributes:
        names: of the layers.
        rows: of the output of each.
        loads: of each, the matrices of its candidates.
    """

    def __init__(
        self,
        network: Network,
        chip: ChipSpec,
        choices: Sequence[LayerChoices],
        dense: Plan,
        graph: TaskGraph,
    ) -> None:
        # Fully connected layers cost a chip something, too, whether a plan counts them or not.
        self._costing = Costing.of(network, dense, chip_table(chip), linear=True)
        self._linear = [layer.shape.is_linear for layer in choices]
        self.network, self.chip, self.graph = network, chip, graph
        self.names = [layer.name for layer in choices]
        self.rows = [layer.shape.output[0] for layer in choices]
        self._choices: list[list[Candidate]] = []
        for layer in choices:
            linear = layer.shape.is_linear
            self._choices.append([_priced(self._costing, chip, one, linear) for one in layer.candidates])
        self.loads = [self._loads_of(candidates) for candidates in self._choices]
        memory = FJ * chip.memory.energy * graph.tasks[0].made_bits if chip.memory is not None else 0.0
        joins = sum(task.operations for task in graph.tasks if task.arrays is None)
        self.fixed_energy = memory + FJ * chip.cores.energy * joins

    @property
    def count(self) -> int:
        """Candidates of all layers together."""
        return sum(map(len, self._choices))

    def admit(self, chosen: Sequence[Candidate], mapped: Plan) -> tuple[Candidate, ...]:
        """Layers as they are chosen with the mappings of a plan, which are candidates from then on.

        Args:
            chosen: what each layer becomes.
            mapped: a plan of the same layers.
        """
        found = []
        for index, one in enumerate(chosen):
            entry = replace(one.entry, mapping=mapped.layer(one.entry.name).mapping)
            known = self._choices[index]
            same = next((own for own in known if own.entry == entry), None)
            if same is None:
                same = self._moved(one, entry, self._linear[index])
                known.append(same)
                self.loads[index] = self._loads_of(known)
            found.append(same)
        return tuple(found)

    def _moved(self, candidate: Candidate, entry: LayerPlan, linear: bool) -> Candidate:
        """A candidate under another mapping, by which nothing is lost."""
        moved = replace(candidate, entry=entry)
        if not linear:
            counted = self._costing.candidate(entry, (ENERGY,))
            moved = replace(counted, loss=candidate.loss, channels=candidate.channels, needs=candidate.needs)
        return _priced(self._costing, self.chip, moved, linear)

    def _loads_of(self, candidates: Sequence[Candidate]) -> Loads:
        return Loads.of([_matrices(self._costing, one.entry) for one in candidates])

    @property
    def read_time(self) -> float:
        """ns of an activation; of a chip that does not say it, the least that it can be."""
        return self.chip.read_time or self._least_read_time()

    @property
    def longest(self) -> int:
        """Activations of the busiest tile of any candidate: an interval that needs no copies."""
        return max(int(loads.longest.max()) for loads in self.loads)

    @property
    def fewest(self) -> int:
        """Arrays without which weights of no choice stay."""
        return sum(int(loads.arrays(self.longest).min()) for loads in self.loads)

    def candidates(self, interval: int) -> list[list[Candidate]]:
        """The candidates of each layer, with the arrays that each needs for an interval, in activations."""
        found = []
        for candidates, loads in zip(self._choices, self.loads, strict=True):
            needed = loads.arrays(interval).tolist()
            found.append(
                [replace(one, arrays=arrays) for one, arrays in zip(candidates, needed, strict=True)]
            )
        return found

    def stored(self, chosen: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """Chosen candidates with the arrays that they need without copies."""
        found = []
        for one, candidates in zip(chosen, self._choices, strict=True):
            found.append(next(own for own in candidates if own.entry == one.entry))
        return tuple(found)

    def activations(self, time: float) -> int:
        """Activations that fit into so many us."""
        return int(1e3 * time * (1 + 1e-12) / self.read_time)

    def time(self, activations: int) -> float:
        """us of so many activations."""
        return 1e-3 * activations * self.read_time

    def _least_read_time(self) -> float:
        """ns of an activation: one clock for all arrays, which is no faster than what each layer needs at
        least.
        """
        needed = [0.0]
        for candidates, loads in zip(self._choices, self.loads, strict=True):
            own = []
            for one, longest in zip(candidates, loads.longest.tolist(), strict=True):
                time = 0.0
                if longest:
                    time = 1e3 * one.cost("interval") / longest
                own.append(time)
            needed.append(min(own))
        return max(needed)


def _priced(costing: Costing, chip: ChipSpec, candidate: Candidate, linear: bool) -> Candidate:
    """A candidate with its part of the chip's energy."""
    priced = candidate
    if candidate.energy is None or linear:
        priced = costing.candidate(candidate.entry, (ENERGY,))
    entry = costing.with_bits(candidate.entry)
    # What it reads is written to a buffer, once at least.
    written = 0
    for shape in costing.runs[entry.name]:
        channels = shape.in_channels if candidate.channels is None else candidate.channels
        written += channels * math.prod(shape.input) * (entry.input_bits or 0) * (not candidate.idle)
    energy = priced.cost(ENERGY) + FJ * chip.buffer.energy * written
    # Losses and needs are the plan's; so are cycles, which it does not count of layers that it does not plan.
    return replace(candidate, energy=energy, interval=priced.interval)


def _matrices(costing: Costing, entry: LayerPlan) -> Matrices:
    """What the arrays of a layer hold."""
    array = costing.precise.array
    runs = costing.runs[entry.name]
    if runs[0].shares:
        return Matrices()  # it may run on the arrays of the layer whose parameter it shares
    precise = costing.with_bits(entry)
    mapped = [array_mapping(run, array, precise) for run in runs]
    together = side_by_side(mapped[0])
    if not together:
        return Matrices()
    loads: list[tuple[int, int]] = []
    stages_of_runs = runs_of_weight(runs, mapped, array, precise)
    for stored in stored_stages((entry.name,) * len(runs), stages_of_runs, array):
        loads += stored.loads
    rows = min(rows_at_once(runs[0], stages) for stages in together)
    return Matrices(tuple(loads), len(together), rows)
