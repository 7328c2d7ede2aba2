"""The tiles that a chip has to hold: of what size they are on its arrays, and how often each works."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from rankfold.cost.cycles import NetworkCycles
from rankfold.cost.layer_cycles import LayerCycles
from rankfold.mapping import ArraySpec, Mapping
from rankfold.mapping.stored import StoredMatrix
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
        name: of its weight, the same for both stages of a pair.
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
    tiles = []
    for stored, times in stage.loads:
        for turns, sizes in _by_turns(stored, array, wide).items():
            tiles.append(Tiles(tuple(sizes.items()), times * slices * turns))
    return StoredStage(stage.shape.stored, tuple(tiles))


def _by_turns(stored: StoredMatrix, array: ArraySpec, wide: int) -> dict[int, Counter[Pair]]:
    """The sizes of the tiles of a matrix, by the turns that drive their rows."""
    found: dict[int, Counter[Pair]] = {}
    for (rows, columns), number in stored.extents().items():
        sizes = found.setdefault(array.turns(rows), Counter())
        sizes[rows, columns * wide] += number
    return found


def stages_of(costs: NetworkCycles) -> list[StoredStage]:
    """The stored convolutions of a network, in the order in which they first run.

    A weight that runs several times is stored once and works for all its runs, where they lay it out alike.
    """
    stages: list[StoredStage] = []
    # Where the stages of each weight stand in the list.
    places: dict[str, int] = {}
    for layer in costs.layers:
        own = _stages_of_layer(layer, costs.array)
        first = places.get(layer.shape.stored)
        if first is None:
            places[layer.shape.stored] = len(stages)
            stages += own
            continue
        before = stages[first : first + len(own)]
        if [_sizes(stage) for stage in own] == [_sizes(stage) for stage in before]:
            both = [_together(one, other) for one, other in zip(before, own, strict=True)]
            stages[first : first + len(own)] = both
        else:
            stages += own
    return stages


def _stages_of_layer(layer: LayerCycles, array: ArraySpec) -> list[StoredStage]:
    stages = zip(layer.executed.stages, layer.slices, strict=True)
    return [stored_stage(stage, array, slices, layer.columns_per_weight) for stage, slices in stages]


def _sizes(stage: StoredStage) -> list[tuple[tuple[Pair, int], ...]]:
    return [tiles.sizes for tiles in stage.tiles]


def _together(one: StoredStage, other: StoredStage) -> StoredStage:
    """The same tiles at the work of both."""
    pairs = zip(one.tiles, other.tiles, strict=True)
    tiles = tuple(Tiles(first.sizes, first.times + second.times) for first, second in pairs)
    return StoredStage(one.name, tiles)
