"""Packing tiles into arrays: never below the optimum, the bound never above it, everything in place."""

import itertools
import math
from collections import Counter
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankfold.cost.packing import lower_bound, pack_tiles
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, map_layer
from rankfold.workload import zoo_network


def check(packing, extents):
    """Every array holds what fits, and all arrays together hold exactly the tiles."""
    found = Counter()
    for contents, count in packing.bins:
        assert sum(size[0] * number for size, number in contents) <= packing.array.rows
        assert sum(size[1] * number for size, number in contents) <= packing.array.columns
        for size, number in contents:
            found[size] += number * count
    assert found == Counter(extents)
    assert packing.lower_bound <= packing.arrays
    assert packing.gap == packing.arrays - packing.lower_bound


@lru_cache(None)
def fewest(tiles, rows, columns):
    """By trying every set of tiles that may share an array with the first one."""
    if not tiles:
        return 0
    first, *others = tiles
    best = math.inf
    for number in range(len(others) + 1):
        for chosen in itertools.combinations(range(len(others)), number):
            together = [first, *(others[i] for i in chosen)]
            if sum(r for r, _ in together) <= rows and sum(c for _, c in together) <= columns:
                rest = tuple(tile for i, tile in enumerate(others) if i not in chosen)
                best = min(best, 1 + fewest(rest, rows, columns))
    return best


def test_bound_and_packing_enclose_the_optimum_for_all_small_sets():
    sizes = [(r, c) for r in (1, 2, 3, 4) for c in (1, 2, 3)]
    array = ArraySpec(4, 3)
    exact = proven = total = 0
    for number in (1, 2, 3, 4):
        for tiles in itertools.combinations_with_replacement(sizes, number):
            extents = Counter(tiles)
            packing, best = pack_tiles(extents, array), fewest(tiles, 4, 3)
            check(packing, extents)
            assert packing.lower_bound <= best <= packing.arrays
            exact += packing.arrays == best
            proven += packing.lower_bound == best
            total += 1
    assert exact == total
    assert proven / total > 0.99


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 7)), min_size=5, max_size=7),
    st.integers(9, 12),
    st.integers(7, 12),
)
def test_bound_and_packing_enclose_the_optimum(tiles, rows, columns):
    packing = pack_tiles(Counter(tiles), ArraySpec(rows, columns))
    check(packing, Counter(tiles))
    assert packing.lower_bound <= fewest(tuple(sorted(tiles)), rows, columns) <= packing.arrays


def test_bound_by_hand():
    """An 8x2 and a 2x8 tile share no 8x8 array, with 10 rows and 10 columns.

    Rows or columns alone tell of 30/8 arrays, not 6.
    """
    array = ArraySpec(8, 8)
    assert lower_bound({(8, 2): 3, (2, 8): 3}, array) == 6
    # 8x2 leaves no row for the others, and of these two fit an array by their columns.
    assert lower_bound({(8, 2): 2, (3, 4): 4}, array) == 4
    assert pack_tiles({(8, 2): 2, (3, 4): 4}, array).gap == 0


def test_bound_is_exact_where_numbers_exceed_64_bits():
    array = ArraySpec(1 << 20, 1 << 20)
    extents = {(1 << 20, 1 << 20): 5_000_000, (3, 5): 7}
    packing = pack_tiles(extents, array)
    check(packing, extents)
    assert (packing.arrays, packing.gap) == (5_000_001, 0)


@given(
    st.dictionaries(
        st.tuples(st.integers(1, 16), st.integers(1, 12)), st.integers(1, 5000), min_size=1, max_size=12
    ),
    st.integers(16, 40),
    st.integers(12, 40),
)
def test_packing_of_many_tiles(extents, rows, columns):
    array = ArraySpec(rows, columns)
    packing = pack_tiles(extents, array)
    check(packing, extents)
    assert packing.lower_bound == lower_bound(extents, array)
    assert packing.arrays <= sum(extents.values())


@pytest.mark.parametrize(
    ("network", "side", "arrays", "least"),
    [
        ("resnet20", 512, 12, 12),
        ("resnet18", 256, 187, 187),
        ("resnet18", 512, 63, 63),
        ("resnet50", 32, 22906, 22906),
        ("resnet50", 512, 133, 133),
        ("mobilenetv2", 128, 703, 703),
        ("mobilenetv2", 512, 152, 151),
    ],
)
def test_packing_of_networks_is_proven(network, side, arrays, least):
    """im2col leaves much of large arrays empty, and layers share them.

    That no fewer arrays hold them is proven but for one.
    """
    array = ArraySpec(side, side)
    extents = Counter()
    for shape in zoo_network(network).convolutions:
        for stored, _ in map_layer(shape, array, "im2col").loads:
            extents.update(stored.extents())
    packing = pack_tiles(extents, array)
    check(packing, extents)
    assert packing.arrays <= arrays <= sum(extents.values())
    assert packing.lower_bound >= least


def test_what_is_refused():
    for extents in ({(5, 1): 1}, {(1, 4): 1}, {(1, 1): 0}):
        with pytest.raises(InputError, match=r"must be at least one of at most 4x3"):
            pack_tiles(extents, ArraySpec(4, 3))
    assert pack_tiles({}, ArraySpec(4, 3)).arrays == 0
