"""`LayerCycles`: one convolution on an array, under its plan and under mappings to compare it with."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

from rankfold.cost.keys import CostKey
from rankfold.cost.kinds import AnyMapping, Mapped, cost_of
from rankfold.cost.planned import drives
from rankfold.mapping import Mapping, Region
from rankfold.mapping.parts import PartsMapping
from rankfold.plan.layer import LayerPlan
from rankfold.workload import ConvShape


@dataclass(frozen=True)
class LayerCycles:
    """One convolution on the array.

    Attributes:
        shape: the convolution.
        entry: what the plan says of it.
        mappings: the mappings to compare. Dense ones; and for each family of kinds in the plan those of its
            layers, of which a layer of another family counts under the mapping of that name that it has.
            Low-rank pairs have `shared` too: both stages with one window, so that stage 1 feeds stage 2
            without a buffer. Of pattern-pruned layers the family `pruned` skips a row where nothing in a tile
            needs it, `ideal` steers inputs to each column for nothing.
        chosen: the mapping that the plan chose, as executed.
        array_cycles: activations of the arrays with the cells, DACs and driven rows of `ArraySpec`: weights
            spread over columns, inputs and rows over cycles; None where it names none of them. `cycles`
            counts one activation for a whole vector, as papers do.
        steered: the mapping with ideal steering, where the plan assumes it; `chosen` is what an array without
            it executes.
        slices: of each matrix of `executed`, slices of its inputs, each of which every tile is activated
            with: 1 where an activation takes a whole vector.
        columns_per_weight: physical columns of a weight: 1 where columns are counted in weights.
    """

    shape: ConvShape
    entry: LayerPlan
    mappings: Mapped
    chosen: AnyMapping
    _: KW_ONLY
    array_cycles: int | None = None
    steered: Mapping | None = None
    slices: tuple[int, ...] = ()
    columns_per_weight: int = 1

    @property
    def cycles(self) -> dict[CostKey, int]:
        """Per image, by mapping."""
        return {key: mapping.cycles for key, mapping in self.mappings.items()}

    @property
    def conversions(self) -> dict[CostKey, int]:
        """Columns converted by ADCs per image, by mapping; one for a column and a whole vector, as cycles
        count.
        """
        return {key: mapping.conversions for key, mapping in self.mappings.items()}

    @property
    def arrays(self) -> int:
        """Stored tiles of what the plan chose, each on an array of its own."""
        return sum(stage.tile_count for stage in self.executed.stages)

    @property
    def reads(self) -> int:
        """Activations of arrays per image of what the plan chose: with each slice of the inputs, and each
        turn of the rows.
        """
        stages = zip(self.executed.stages, self.slices, strict=True)
        return sum(drives(stage, stage.array) * slices for stage, slices in stages)

    @property
    def most_slices(self) -> int:
        """Slices of the matrix whose inputs have most; 0 of a layer without any."""
        return max(self.slices, default=0)

    @property
    def placed(self) -> bool:
        """Whether weights are spread over cells, or inputs over slices."""
        return self.columns_per_weight > 1 or any(slices > 1 for slices in self.slices)

    @property
    def executed(self) -> AnyMapping:
        """The mapping that the plan chose, with the steering that it assumes."""
        # An ideally steered mapping counts and does not run, so it stands beside the one that does.
        if self.steered is not None:
            return self.steered
        return self.chosen

    @property
    def chosen_cycles(self) -> int:
        """Cycles of what the plan chose, with the steering that it assumes."""
        return self.executed.cycles

    @property
    def chosen_conversions(self) -> int:
        """Columns converted by ADCs for what the plan chose, with the steering that it assumes."""
        return self.executed.conversions

    @property
    def stages(self) -> tuple[Mapping, ...]:
        """The stored matrices: one, two for a low-rank pair, or one for each part of a plane."""
        return self.chosen.stages

    @property
    def main_stage(self) -> Mapping | None:
        """The matrix whose window and tiles are told of the layer; see `main_stage`."""
        return main_stage(self.chosen)

    @property
    def parameters(self) -> int:
        """Weights as stored, without bias."""
        return cost_of(self.entry.kind).parameters(self.shape, self.entry.kind, self.chosen)

    @property
    def utilisation(self) -> float:
        """Useful multiply-accumulates over cells * cycles of what is executed, 0 to 1."""
        # The stages without steering: steering moves weights together and leaves their number.
        cells = self.chosen.array.cells
        # A layer that takes no cycles uses no cells.
        return sum(stage.macs for stage in self.stages) / (cells * max(self.chosen_cycles, 1))

    @property
    def lower_bound(self) -> int:
        """Cycles that no mapping of what is executed can beat."""
        return sum(stage.lower_bound for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """The layer's entry in the `--json` output."""
        shape = self.shape
        window, tiles = window_and_tiles(self.main_stage)
        entry: dict[str, Any] = {
            "name": shape.name,
            "in_channels": shape.in_channels,
            "out_channels": shape.out_channels,
            "kernel": list(shape.kernel),
            "stride": list(shape.stride),
            "padding": list(shape.padding),
            "dilation": list(shape.dilation),
            "groups": shape.groups,
            "input": list(shape.input),
            "output": list(shape.output),
            "macs": shape.macs,
            "parameters": shape.parameters,
            "cycles": by_text(self.cycles),
            "conversions": by_text(self.conversions),
            "planned_conversions": self.chosen_conversions,
            "method": self.chosen.method,
            "window": window,
            "tiles": tiles,
            "lower_bound": self.lower_bound,
            "utilisation": self.utilisation,
            "array_cycles": self.array_cycles,
        }
        kind = self.entry.kind
        stages = [_stage_to_json(stage) for stage in self.stages]
        # What only layers of some kinds have is told by the kind itself.
        entry.update(cost_of(kind).to_json(kind, self.parameters, stages))
        return entry


def main_stage(mapping: AnyMapping) -> Mapping | None:
    """The first matrix of a layer; of a plane in parts that of most cycles; None: it has no matrix."""
    if isinstance(mapping, PartsMapping):
        return max(mapping.stages, key=lambda stage: stage.cycles)
    return next(iter(mapping.stages), None)


def window_and_tiles(stage: Mapping | None) -> tuple[list[int] | None, list[int] | None]:
    """Window and tiles of a matrix, as JSON has them; None of none."""
    if stage is None:
        return None, None
    return list(stage.window), [stage.row_tiles, stage.column_tiles]


def by_text(counts: dict[CostKey, int]) -> dict[str, int]:
    """Counts by the documented names of `--json`, such as `low-rank-sdk`."""
    return {str(key): count for key, count in counts.items()}


def _stage_to_json(stage: Mapping) -> dict[str, Any]:
    return {
        "window": list(stage.window),
        "tiles": [stage.row_tiles, stage.column_tiles],
        "cycles": stage.cycles,
        "regions": [_region_to_json(region) for region in stage.regions],
    }


def _region_to_json(region: Region) -> dict[str, Any]:
    phase = None
    if region.phase is not None:
        phase = list(region.phase)
    return {
        "channels": list(region.block.channels),
        "outputs": list(region.block.outputs),
        "origin": list(region.origin),
        "size": list(region.size),
        "phase": phase,
        "window": list(region.window),
        "windows_at_once": region.slots,
        "tiles": region.tile_count,
        "cycles": region.cycles,
    }
