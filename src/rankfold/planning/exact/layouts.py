"""The windows that a layer may be laid on arrays with: the whole front of them, in all quantities that count.

A layer stores one matrix or, as a low-rank pair, several, each of which may have a window of its own. What a
layer costs is the sum over its matrices, of the interval the largest of them. So a window of one matrix that
another one is as good as in every quantity stays so whatever the other matrices have, and leaving it out
loses nothing: the front of a layer is found from those of its matrices.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from rankfold.cost.energy import ComponentTable, StageActivity, stage_activity, stage_energy
from rankfold.cost.kinds import cost_of
from rankfold.cost.kinds.kind import StoredShape
from rankfold.cost.planned import bits_of
from rankfold.mapping import ArraySpec, map_layer
from rankfold.mapping.footprint import Footprint
from rankfold.mapping.front import undominated, windows_worth_trying
from rankfold.mapping.names import fitted_window, window_name
from rankfold.mapping.windows import Block, Windows
from rankfold.plan import LayerPlan
from rankfold.planning.exact.candidate import is_largest
from rankfold.planning.exact.quantities import (
    AREA,
    ARRAY_CYCLES,
    ARRAYS,
    CONVERSIONS,
    CYCLES,
    ENERGY,
    INTERVAL,
    LATENCY,
    WEIGHTS,
    is_priced,
)
from rankfold.workload import ConvShape
from rankfold.workload.shape import Pair

# What no window changes, or the mapping of the fewest cycles has the least of.
NO_CHOICE = {CYCLES, WEIGHTS}
SQUARE_MILLIMETRES = 1e-6  # of a um2
WindowCosts = tuple[Pair, np.ndarray]  # a window, and (Q,) what a matrix costs under it


@dataclass(frozen=True, eq=False)
class Layouts:
    """Finds the windows of layers.

    Attributes:
        array: R x C, with which cycles are counted, and arrays.
        precise: the array that all else is counted with.
        table: its components.
    """

    array: ArraySpec
    precise: ArraySpec
    table: ComponentTable
    # Layers of one shape, and pairs of one rank, store the same matrices.
    _known: dict[Hashable, list[WindowCosts]] = field(default_factory=dict, repr=False)
    # And so they do with several bits.
    _activities: dict[Hashable, StageActivity] = field(default_factory=dict, repr=False)

    def names(
        self, runs: Sequence[ConvShape], entry: LayerPlan, quantities: Sequence[str]
    ) -> tuple[str, ...]:
        """The mappings that give a layer windows, each choice that no other one is as good as.

        Exact over all windows that have a column for each pixel on the arrays that they are counted on, each
        matrix under one window on the whole plane; of a matrix on a support, over those windows that no other
        one is as good as in cycles and arrays. None where windows make no difference, or are not the plan's
        to name.

        Args:
            runs: the convolutions that use the weight, at least one.
            entry: what the layer becomes, with the bits that it is priced with.
            quantities: that count.
        """
        counted = tuple(quantity for quantity in quantities if quantity != WEIGHTS)
        cost = cost_of(entry.kind)
        matrices = [cost.matrices(run, entry.kind) for run in runs]
        if not set(counted) - NO_CHOICE or not matrices[0]:
            return ()
        circuits = cost.row_circuits(entry.kind)
        signs = cost.input_signs(entry.kind, entry.input_signed)
        bits = bits_of(runs[0], entry)
        fronts = []
        for stored, circuit, signed in zip(zip(*matrices, strict=True), circuits, signs, strict=True):
            fronts.append(self._front(_Matrix(stored, circuit, *bits, signed), counted))
        return tuple(window_name(windows) for windows in _together(fronts, counted))

    def _front(self, matrix: _Matrix, counted: tuple[str, ...]) -> list[WindowCosts]:
        """The windows of one matrix that no other one is as good as, and what they cost."""
        if matrix.supported:
            return self._found(matrix, counted)
        shapes = tuple(each.shape.anonymous for each in matrix.stored)
        bits = matrix.weight_bits, matrix.input_bits, matrix.input_signed
        key = shapes, matrix.circuit, bits, counted
        if key not in self._known:
            self._known[key] = self._found(matrix, counted)
        return self._known[key]

    def _found(self, matrix: _Matrix, counted: tuple[str, ...]) -> list[WindowCosts]:
        windows, cycles, arrays = self._counts(matrix)
        left = list(range(len(windows)))
        if matrix.supported:
            # Rows that differ from channel to channel are counted one by one.
            left = undominated(np.stack((cycles, arrays), axis=1))
        costs = []
        for index in left:
            known: dict[str, float] = {CYCLES: cycles[index], ARRAYS: arrays[index]}
            if is_priced(counted):
                known |= self._priced(matrix, windows[index])
            costs.append([known[quantity] for quantity in counted])
        amounts = np.array(costs, float)  # (W, Q)
        return [(windows[left[index]], amounts[index]) for index in undominated(amounts)]

    def _counts(self, matrix: _Matrix) -> tuple[list[Pair], np.ndarray, np.ndarray]:
        """The windows worth trying, and (W,) cycles and arrays under each, as `Costing.candidate` counts."""
        planes = [each.shape.output for each in matrix.stored]
        in_weights = self.array.in_weights(matrix.weight_bits)
        found: dict[Pair, None] = {}
        for array in (self.array, in_weights, self.precise.in_weights(matrix.weight_bits)):
            found.update(dict.fromkeys(windows_worth_trying(planes, array.columns)))
        cycles = np.zeros(len(found), int)
        for each in matrix.stored:
            windows = _as_they_fit(each, self.array, found)
            cycles += windows.positions * windows.tiles(Block.whole(windows.footprint))
        arrays = np.zeros(len(found), int)
        before: list[Windows] = []
        for each in matrix.stored:
            windows = _as_they_fit(each, in_weights, found)
            # Planes on which a window is as large are stored for once.
            there = np.zeros(len(found), bool)
            for other in before:
                there |= (windows.a == other.a) & (windows.b == other.b)
            arrays += np.where(there, 0, windows.tiles(Block.whole(windows.footprint)))
            before.append(windows)
        return list(found), cycles, arrays

    def _priced(self, matrix: _Matrix, window: Pair) -> dict[str, float]:
        """What takes cells and components, of one matrix under a window, as `Costing.priced` counts it."""
        costs = dict.fromkeys((ENERGY, ARRAY_CYCLES, CONVERSIONS, LATENCY, AREA), 0.0)
        columns = self.precise.in_weights(matrix.weight_bits).columns
        busy: defaultdict[Pair, float] = defaultdict(float)  # us, by the window as it is stored
        for each in matrix.stored:
            activity = self._activity(matrix, each, window)
            activity = activity.under(self.precise, matrix.weight_bits, matrix.input_bits)
            spent = stage_energy(self.table, self.precise, activity)
            costs[ENERGY] += spent.total
            costs[ARRAY_CYCLES] += activity.reads
            costs[CONVERSIONS] += activity.conversions
            costs[LATENCY] += spent.latency
            # Planes on which the window is as large are stored for once.
            fitted = fitted_window(window, each.shape.output, columns)
            if fitted not in busy:
                costs[AREA] += SQUARE_MILLIMETRES * sum(spent.area.values())
            busy[fitted] += spent.latency
        costs[INTERVAL] = max(busy.values())
        return costs

    def _activity(self, matrix: _Matrix, stored: StoredShape, window: Pair) -> StageActivity:
        """What arrays do under a window, perhaps with other bits: a weight's columns make the tiles."""
        bits = matrix.weight_bits
        wide = self.precise.columns_per_weight(bits), self.precise.conversions_per_weight(bits)
        key = stored.shape.anonymous, matrix.circuit, wide, matrix.input_signed, window
        if key in self._activities:
            return self._activities[key]
        laid = map_layer(stored.shape, self.precise.in_weights(bits), window_name([window]), stored.support)
        activity = stage_activity(
            laid,
            self.precise,
            bits,
            matrix.input_bits,
            steering=matrix.circuit,
            input_signed=matrix.input_signed,
        )
        # Supports are many, and none is asked for twice.
        if stored.support is None:
            # Nothing asks what the arrays hold, which would stay in memory.
            self._activities[key] = replace(activity, stored=())
        return activity


@dataclass(frozen=True, eq=False)
class _Matrix:
    """One stored matrix of a layer.

    Attributes:
        stored: it, as each run of the layer reads it.
        circuit: what chooses its rows.
        weight_bits: of its weights.
        input_bits: of its inputs.
        input_signed: whether these can be negative; None: not known.
    """

    stored: tuple[StoredShape, ...]
    circuit: str
    weight_bits: int
    input_bits: int
    input_signed: bool | None

    @property
    def supported(self) -> bool:
        """Whether it uses only some kernel positions."""
        return self.stored[0].support is not None


def _as_they_fit(stored: StoredShape, array: ArraySpec, windows: Iterable[Pair]) -> Windows:
    """Windows as a plan names them, on one plane and array."""
    fitted = [fitted_window(window, stored.shape.output, array.columns) for window in windows]
    a, b = np.array(fitted).T
    return Windows(Footprint.of(stored.shape.anonymous, stored.support), array, a, b)


def _together(fronts: Sequence[Sequence[WindowCosts]], counted: Sequence[str]) -> list[tuple[Pair, ...]]:
    """Windows of all matrices together that no others are as good as."""
    largest = np.array([is_largest(quantity) for quantity in counted])
    choices, costs = [], []
    for choice in product(*fronts):
        each = np.stack([amounts for _, amounts in choice])  # (matrices, Q)
        costs.append(np.where(largest, each.max(axis=0), each.sum(axis=0)))
        choices.append(tuple(window for window, _ in choice))
    return [choices[index] for index in undominated(np.stack(costs))]
