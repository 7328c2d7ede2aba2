"""What arrays hold, cell by cell: the brute force that shared arrays are held against."""

from collections import Counter


def cells_of(stage):
    """The weights in the cells of every tile of a mapped convolution, however the tiles are ordered."""
    tiles = Counter()
    for stored, _ in stage.loads:
        for tile in stored.tiles():
            tiles[tile.weight_index.tobytes(), tile.weight_index.shape] += 1
    return frozenset(tiles.items())


def arrays_by_cells(runs):
    """Arrays of the runs of one weight, each a list of stages: those that hold other cells are others."""
    arrays = {}
    for stages in runs:
        for number, stage in enumerate(stages):
            arrays[number, cells_of(stage)] = stage.tile_count
    return sum(arrays.values())
