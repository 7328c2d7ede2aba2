"""What the candidates of a network cost on its arrays: cycles, arrays, energy and all else, from mappings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from rankfold.cost import array_mapping, planned_mapping
from rankfold.cost.energy import (
    ComponentTable,
    StageActivity,
    StageEnergy,
    layer_activities,
    precise_plan,
    stage_energy,
)
from rankfold.cost.homes import homes, stored_once
from rankfold.cost.planned import bits_of
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, Mapping
from rankfold.plan import LayerPlan, Plan
from rankfold.planning.exact.candidate import Candidate
from rankfold.planning.exact.layouts import SQUARE_MILLIMETRES, Layouts
from rankfold.planning.exact.quantities import is_priced
from rankfold.workload import ConvShape, Network


@dataclass(frozen=True)
class Costing:
    """Prices entries of plans for one network on one array.

    Fully connected layers cost nothing here unless they are asked for, as in `rankfold map`.

    Attributes:
        array: R x C, with cells and DACs where the user named them.
        runs: the convolutions that each weight is used in, by the weight's name.
        table: the components that energy is counted with.
        precise: array and bits with which it is counted, of the network kept dense.
    """

    array: ArraySpec
    runs: dict[str, tuple[ConvShape, ...]]
    table: ComponentTable
    precise: Plan

    @cached_property
    def layouts(self) -> Layouts:
        """The windows that layers may have."""
        return Layouts(self.array, self.precise.array, self.table)

    @classmethod
    def of(cls, network: Network, dense: Plan, table: ComponentTable, *, linear: bool = False) -> Costing:
        """For a network, the plan that keeps it dense, and a table.

        Args:
            network: the network.
            dense: the plan.
            table: the components.
            linear: whether fully connected layers count.

        Raises:
            InputError: no layer of the network counts, or the table's cells store fewer bits than the
                array's.
        """
        counted = network.layers if linear else network.convolutions
        if not counted:
            raise InputError(
                f"{network.name} has no two-dimensional convolution, so that there is nothing to plan; "
                "linear=True plans fully connected layers too"
            )
        # A weight may run several times, in other sizes too.
        runs: dict[str, tuple[ConvShape, ...]] = {}
        for shape in counted:
            before = runs.get(shape.weight, ())
            runs[shape.weight] = (*before, shape)
        precise, _ = precise_plan(network, dense, table)
        return cls(dense.array, runs, table, precise)

    def candidate(self, entry: LayerPlan, quantities: Iterable[str] = ()) -> Candidate:
        """The candidate with its cycles, arrays and weights, and all else where any of it is asked for.

        Args:
            entry: what the layer becomes.
            quantities: that count, some of `QUANTITIES`.

        Raises:
            InputError: the array holds no weight of the layer.
        """
        (found,) = self.candidates(entry, (entry.input_bits,), quantities)
        return found

    def candidates(
        self, entry: LayerPlan, input_bits: Sequence[int | None], quantities: Iterable[str] = ()
    ) -> list[Candidate]:
        """`candidate` under inputs of several bits, none of which moves a weight.

        Args:
            entry: likewise.
            input_bits: of inputs.
            quantities: likewise.

        Raises:
            InputError: likewise.
        """
        runs = self.runs.get(entry.name, ())
        entries = [replace(entry, input_bits=bits) for bits in input_bits]
        if not runs:
            return [_free(each) for each in entries]  # a fully connected layer
        # Cycles are counted with a weight in a cell, as everywhere; arrays with cells as they are.
        mappings = [planned_mapping(shape, self.array, entry) for shape in runs]
        cycles = sum(mapping.cycles for mapping in mappings)
        # Where columns are weights anyway, it is mapped already.
        laid_out = mappings
        if self.array.cell_bits is not None or self.array.dac_bits is not None:
            laid_out = [array_mapping(shape, self.array, entry) for shape in runs]
        arrays = sum(stage.tile_count for stage in stored_once(laid_out))
        weights = _stored_weights(laid_out[0].stages)
        found = [Candidate(each, cycles, arrays, None, weights) for each in entries]
        if is_priced(quantities):
            activities = self._activities(entries[0])
            return [self._priced(candidate, activities) for candidate in found]
        return found

    def with_windows(self, entries: Iterable[LayerPlan], quantities: Sequence[str]) -> list[LayerPlan]:
        """Entries of one layer, and behind them all that they may be under windows of a plan's choice.

        Args:
            entries: what the layer may become, under mappings by name.
            quantities: that count; where the fewest cycles are all that is wanted, no window adds to it.
        """
        found = list(entries)
        # Once for each kind, whichever mappings it comes with.
        kinds = dict.fromkeys(replace(entry, mapping=entry.kind.mapping_for("sdk")) for entry in found)
        for entry in kinds:
            runs = self.runs.get(entry.name, ())
            # Pairs on supports are too many, and seldom worth their two stages.
            if not runs or (entry.kind.windows > 1 and entry.kind.shares_support):
                continue
            for name in self.layouts.names(runs, self.with_bits(entry), quantities):
                found.append(replace(entry, mapping=name))
        return found

    def priced(self, candidate: Candidate) -> Candidate:
        """The candidate with all that takes bits of cells and DACs, and a component table.

        Raises:
            InputError: the array holds no weight of the layer, spread over cells.
        """
        if candidate.energy is not None:
            return candidate
        return self._priced(candidate, self._activities(candidate.entry))

    def _activities(self, entry: LayerPlan) -> list[tuple[StageActivity, ...]]:
        """What the arrays do in each run of a layer, stage by stage."""
        precise = self.with_bits(entry)
        return [layer_activities(shape, self.precise.array, precise) for shape in self.runs[entry.name]]

    def _priced(self, candidate: Candidate, activities: Sequence[Sequence[StageActivity]]) -> Candidate:
        """The candidate with what the arrays' work costs, which may be that of other bits of inputs."""
        array = self.precise.array
        weight_bits, input_bits = bits_of(self.runs[candidate.entry.name][0], self.with_bits(candidate.entry))
        runs: list[list[StageEnergy]] = []
        for stages in activities:
            work = [stage.under(array, weight_bits, input_bits) for stage in stages]
            runs.append([stage_energy(self.table, array, stage) for stage in work])
        every = [stage for run in runs for stage in run]
        # By arrays: those that run twice for an image are busy for both runs.
        first: dict[Hashable, StageEnergy] = {}
        busy: defaultdict[Hashable, float] = defaultdict(float)
        names = ("",) * len(runs)
        for keys, run in zip(homes(names, runs, lambda stage: stage.activity.held), runs, strict=True):
            for key, stage in zip(keys, run, strict=True):
                first.setdefault(key, stage)
                busy[key] += stage.latency
        return replace(
            candidate,
            energy=sum(sum(stage.total for stage in run) for run in runs),
            array_cycles=sum(stage.activity.reads for stage in every),
            conversions=sum(stage.activity.conversions for stage in every),
            latency=sum(sum(stage.latency for stage in run) for run in runs),
            interval=max(busy.values(), default=0.0),
            area=SQUARE_MILLIMETRES * sum(sum(stage.area.values()) for stage in first.values()),
        )

    def with_bits(self, entry: LayerPlan) -> LayerPlan:
        """The entry with bits: those that a plan leaves open are those that energy is counted with."""
        if entry.weight_bits is not None:
            return entry
        bits = self.precise.layer(entry.name)
        return replace(entry, weight_bits=bits.weight_bits, input_bits=bits.input_bits)


def _free(entry: LayerPlan) -> Candidate:
    """A layer that costs nothing."""
    return Candidate(entry, 0, 0, 0.0, 0, array_cycles=0, conversions=0, latency=0.0, interval=0.0, area=0.0)


def _stored_weights(stages: tuple[Mapping, ...]) -> int:
    """Weights that are stored, without the zeros of a support."""
    weights = 0
    for stage in stages:
        height, width = stage.shape.output
        # Each stored weight is multiplied once for every output position.
        weights += stage.macs // (height * width)
    return weights
