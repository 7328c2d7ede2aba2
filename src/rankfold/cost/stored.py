"""The tiles that a chip has to hold: of what size they are on its arrays, and how often each works."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from rankfold.cost.cycles import NetworkCycles
from rankfold.cost.homes import held_by, homes
from rankfold.cost.kinds import AnyMapping
from rankfold.cost.layer_cycles import LayerCycles
from rankfold.cost.planned import bits_of, input_slices
from rankfold.mapping import ArraySpec, Mapping
from rankfold.mapping.stored import StoredMatrix
from rankfold.plan import LayerPlan
from rankfold.workload import ConvShape
from rankfold.workload.shape import Pair


@dataclass(frozen=True)
class Tiles:
    """Tiles that work equally often.

    Attributes:
        sizes: ((rows, columns), how many of them), columns as they are on the array.
        times: activations of each for an image, with every slice of the inputs and turn of the rows.
    """

    sizes: tuple[tuple[Pair, int], ...]
    times: int

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return sum(number for _, number in self.sizes)


@dataclass(frozen=True)
class StoredStage:
    """One stored convolution: a layer, or one of the two stages of a low-rank pair.

    Attributes:
        name: of what it stores of, see `ConvShape.stored`; the same for both stages of a pair.
        tiles: of each of its stored matrices, those that work equally often.
    """

    name: str
    tiles: tuple[Tiles, ...]

    @property
    def loads(self) -> list[tuple[int, int]]:
        """(tiles, activations of each) of its tiles."""
        return [(tiles.count, tiles.times) for tiles in self.tiles]


def reference_columns(array: ArraySpec) -> int:
    """Columns of an array that hold no weights: with offset coding the one that the offset is read from."""
    return int(array.cell_bits is not None and array.coding == "offset")


def stored_stage(stage: Mapping, array: ArraySpec, slices: int = 1, wide: int = 1) -> StoredStage:
    """A mapped convolution as a chip holds it.

    Args:
        stage: the convolution, with columns counted in weights.
        array: the array of the chip.
        slices: of the inputs.
        wide: physical columns of a weight.
    """
    return _stored_stage(stage.shape.stored, [StageRun(stage, slices, wide)], array)


@dataclass(frozen=True)
class StageRun:
    """One run of a stored convolution.

    Attributes:
        mapping: the convolution, with columns counted in weights.
        slices: of the inputs.
        wide: physical columns of a weight.
        weight_bits: of a weight; None: a cell holds it.
    """

    mapping: Mapping
    slices: int
    wide: int
    weight_bits: int | None = None

    @property
    def held(self) -> Hashable:
        """What arrays hold of a parameter, on which cells."""
        return held_by(self.mapping), self.weight_bits, self.wide


def stored_stages(
    parameters: Sequence[str], runs: Sequence[Sequence[StageRun]], array: ArraySpec
) -> list[StoredStage]:
    """What a chip holds for runs of layers, in the order in which it is first used.

    Runs of one parameter use the same arrays where these hold it alike, see `cost.homes`: these work for all
    of them.

    Args:
        parameters: the name of what each run stores.
        runs: the stages of each.
        array: the array of the chip.
    """
    sharing: dict[Hashable, list[StageRun]] = {}
    names: dict[Hashable, str] = {}
    keys = homes(parameters, runs, lambda stage: stage.held)
    for parameter, own_keys, own in zip(parameters, keys, runs, strict=True):
        for key, stage in zip(own_keys, own, strict=True):
            sharing.setdefault(key, []).append(stage)
            names[key] = parameter
    return [_stored_stage(names[key], stages, array) for key, stages in sharing.items()]


def runs_of_weight(
    runs: Sequence[ConvShape], mapped: Sequence[AnyMapping], array: ArraySpec, entry: LayerPlan
) -> list[list[StageRun]]:
    """The stages of each run of a weight under an entry of a plan.

    Args:
        runs: the convolutions that use it.
        mapped: each as `cost.planned.array_mapping` lays it out.
        array: the array of the chip, with cells and DACs.
        entry: what the plan says of the layer, with bits.
    """
    found = []
    for shape, mapping in zip(runs, mapped, strict=True):
        weight_bits, _ = bits_of(shape, entry)
        wide = array.columns_per_weight(weight_bits)
        stages = zip(mapping.stages, input_slices(shape, array, entry), strict=True)
        found.append([StageRun(stage, slices, wide, weight_bits) for stage, slices in stages])
    return found


def stages_of(costs: NetworkCycles) -> list[StoredStage]:
    """The stored convolutions of a network, see `stored_stages`."""
    parameters = [layer.shape.stored for layer in costs.layers]
    return stored_stages(parameters, [_stages_of_layer(layer) for layer in costs.layers], costs.array)


def _stages_of_layer(layer: LayerCycles) -> list[StageRun]:
    wide, bits = layer.columns_per_weight, layer.entry.weight_bits
    if layer.placed:
        bits, _ = bits_of(layer.shape, layer.entry)
    stages = zip(layer.executed.stages, layer.slices, strict=True)
    return [StageRun(stage, slices, wide, bits) for stage, slices in stages]


def _stored_stage(name: str, runs: Sequence[StageRun], array: ArraySpec) -> StoredStage:
    """What runs on the same arrays, as a chip holds it."""
    first = runs[0]
    tiles = []
    for stored, times in _loads(runs):
        for turns, sizes in _by_turns(stored, array, first.wide).items():
            tiles.append(Tiles(tuple(sizes.items()), times * turns))
    return StoredStage(name, tuple(tiles))


def _loads(runs: Sequence[StageRun]) -> list[tuple[StoredMatrix, int]]:
    """Each stored matrix, and the activations of each of its tiles in all runs, slice by slice."""
    first = runs[0]
    loads = [(stored, times * first.slices) for stored, times in first.mapping.loads]
    if len(runs) == 1:
        return loads
    # Matrices of the same contents may stand in another order, and several may have them.
    further: dict[Hashable, list[int]] = {}
    for run in runs[1:]:
        own: dict[Hashable, list[int]] = {}
        for stored, times in run.mapping.loads:
            own.setdefault(stored.contents, []).append(times * run.slices)
        for contents, each in own.items():
            before = further.get(contents, [0] * len(each))
            further[contents] = [one + other for one, other in zip(before, each, strict=True)]
    return [(stored, times + further[stored.contents].pop(0)) for stored, times in loads]


def _by_turns(stored: StoredMatrix, array: ArraySpec, wide: int) -> dict[int, Counter[Pair]]:
    """The sizes of the tiles of a matrix, by the turns that drive their rows."""
    found: dict[int, Counter[Pair]] = {}
    for (rows, columns), number in stored.extents().items():
        sizes = found.setdefault(array.turns(rows), Counter())
        sizes[rows, columns * wide] += number
    return found
