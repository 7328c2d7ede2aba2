"""The page's own account of arrays, in a JavaScript engine: cells, inputs and outputs are the library's."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_mini_racer import MiniRacer

import rankfold.report
from common.strategies import ARRAYS, conv_shapes, masks, pairs, supports
from rankfold.cost import planned_mapping
from rankfold.mapping import (
    LOW_RANK_METHODS,
    MAPPINGS,
    PRUNED_METHODS,
    ArraySpec,
    execute,
    map_layer,
    map_low_rank,
    map_one_window,
    map_pruned,
    map_with_window,
)
from rankfold.plan import LayerPlan
from rankfold.plan.kinds import WindowLayer, WindowLowRankLayer
from rankfold.report.arrays.cells import cell_colours
from rankfold.report.mapper.rule import Tables, stage_rule
from rankfold.workload import ConvShape

CELLS = Path(rankfold.report.__file__).parent / "templates" / "cells.js"
# What the page would show of every tile and every window of a stage.
TOLD = """
function told(rule, masks, most) {
  const stage = new Cells.Stage(rule, masks);
  return { cycles: stage.cycles, regions: stage.regions.map(region => {
    const tiles = [];
    for (let number = 0; number < Math.min(most, region.stored.count); number++) {
      const tile = region.tile(number);
      const { rows, columns } = tile;
      tiles.push({
        rows, columns,
        weights: rows.map(row => columns.map(column => stage.weight(region, row, column))),
        copies: columns.map(column => stage.copy(region, column)),
        free: rows.map(row => columns.map(column => stage.free(row, column))),
        kept: [...Array(region.activations).keys()].map(at => columns.map(column => region.kept(at, column))),
      });
    }
    const origins = [];
    for (let at = 0; at < region.activations; at++) {
      origins.push([...Array(region.slots).keys()].map(slot => region.origin(region.order(at, slot))));
    }
    return { count: region.stored.count, tiles, origins };
  }) };
}
"""
# The convolution as the page tells it: each cycle, each cell that it calls a weight.
RUN = """
function run(rule, masks, inputs, weights) {
  const stage = new Cells.Stage(rule, masks), sums = {};
  const [height, width] = stage.shape.input;
  for (let cycle = 0; cycle < stage.cycles; cycle++) {
    const { region, activation, number } = stage.step(cycle), { rows, columns } = region.tile(number);
    for (const column of columns) {
      if (!region.kept(activation, column)) continue;
      const output = stage.output(region, activation, column).join();
      for (const row of rows) {
        const [channel, y, x] = stage.input(region, activation, row);
        const index = stage.weight(region, row, column);
        if (index < 0 || stage.isPadding([channel, y, x])) continue;
        sums[output] = (sums[output] ?? 0) + weights[index] * inputs[(channel * height + y) * width + x];
      }
    }
  }
  return sums;
}
"""


@pytest.fixture(scope="module")
def engine():
    engine = MiniRacer()
    engine.eval(CELLS.read_text(encoding="utf-8") + TOLD + RUN)
    yield engine
    engine.close()


def told(engine, mapping, most=10**9):
    tables = Tables()
    rule = stage_rule(mapping, tables)
    return json.loads(
        engine.eval(f"JSON.stringify(told({json.dumps(rule)}, {json.dumps(tables.masks)}, {most}))")
    )


def compare(engine, mapping, most=10**9):
    """All that the page says of a mapping, or of the first tiles of each region, is what the library says."""
    page = told(engine, mapping, most)
    assert page["cycles"] == mapping.cycles
    for region, shown in zip(mapping.regions, page["regions"], strict=True):
        assert shown["count"] == region.tile_count
        assert shown["origins"] == region.origins().tolist()
        for tile, own in zip(region.tiles(), shown["tiles"], strict=most >= region.tile_count):
            rows = [tile.row_channel, tile.row_y, tile.row_x, tile.row_slot]
            columns = [tile.col_channel, tile.col_y, tile.col_x, tile.col_slot]
            assert own["rows"] == np.transpose(rows).tolist()
            assert own["columns"] == np.transpose(columns).tolist()
            assert own["weights"] == tile.weight_index.tolist()
            assert own["kept"] == region.kept(tile).tolist()


@settings(max_examples=60)
@given(data=st.data(), array=ARRAYS)
def test_cells_of_dense_layers(engine, data, array):
    shape = data.draw(conv_shapes())
    support = None
    if data.draw(st.booleans()):
        support = data.draw(supports(shape))
    method = data.draw(st.sampled_from(MAPPINGS))
    compare(engine, map_layer(shape, array, method, support))
    a, b = data.draw(pairs(4))
    compare(engine, map_layer(shape, array, f"{a}x{b}", support))


@settings(max_examples=20)
@given(data=st.data(), array=ARRAYS)
def test_cells_of_pruned_layers(engine, data, array):
    shape = data.draw(conv_shapes(channels=3, outputs=5))
    method = data.draw(st.sampled_from(PRUNED_METHODS))
    compare(engine, map_pruned(shape, array, data.draw(masks(shape)), method))


@settings(max_examples=20)
@given(data=st.data(), array=ARRAYS)
def test_cells_of_low_rank_pairs(engine, data, array):
    groups = data.draw(st.sampled_from((1, 2, 4)))
    shape = data.draw(conv_shapes(channels=3))
    channels = shape.in_channels * groups
    shape = ConvShape(
        "layer", channels, shape.m, shape.kernel, shape.input, shape.stride, groups=shape.groups
    )
    rank = data.draw(st.integers(1, 3))
    pair = map_low_rank(shape, array, groups, rank, data.draw(st.sampled_from(LOW_RANK_METHODS)))
    for stage in pair.stages:
        compare(engine, stage)


@settings(max_examples=20)
@given(data=st.data(), array=ARRAYS)
def test_cells_of_window_layers(engine, data, array):
    """Matrices of windows, alone and as pairs: what is stored, the pixel of each output, and what is new."""
    shape = data.draw(conv_shapes(channels=3, outputs=4, largest=8))
    window = tuple(data.draw(st.integers(1, min(side, 3))) for side in shape.output)
    kind = WindowLayer(window)
    if data.draw(st.booleans()):
        kind = WindowLowRankLayer(window, data.draw(st.integers(1, 3)))
    for stage in planned_mapping(shape, array, LayerPlan("layer", kind)).stages:
        compare(engine, stage)
        compare_windows(engine, stage, array)


def compare_windows(engine, stage, array):
    """Pixels of a window, and cells that no copy of the kernel had: those that pictures draw pale."""
    (region,) = stage.regions
    (shown,) = told(engine, stage)["regions"]
    for tile, own in zip(region.tiles(), shown["tiles"], strict=True):
        assert own["copies"] == stage.matrix.pixel_of_output[tile.col_channel].tolist()
        read = stage.matrix.copied(tile.row_channel, tile.row_y, tile.row_x)
        assert own["free"] == (~read[stage.matrix.pixel_of_output[tile.col_channel]].T).tolist()


SHARED = ConvShape("shared", 32, 32, (3, 3), (18, 18))
DILATED = ConvShape("dilated", 8, 8, (3, 3), (16, 16), padding=(2, 2, 2, 2), dilation=(2, 2))
DEPTHWISE = ConvShape("deep", 96, 96, (3, 3), (14, 14), (2, 2), padding=(1, 1, 1, 1), groups=96)
WIDE = ConvShape("wide", 256, 512, (3, 3), (14, 14), (2, 2), padding=(1, 1, 1, 1))


@pytest.mark.parametrize(
    ("shape", "array", "sort"),
    [
        (SHARED, ArraySpec(512, 512), lambda region: region.overflow is not None),
        (DILATED, ArraySpec(128, 128), lambda region: region.phase is not None),
        (DEPTHWISE, ArraySpec(128, 128), lambda region: region.footprint.shape.groups == 96),
        (WIDE, ArraySpec(128, 128), lambda region: region.tile_count > 1),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_cells_of_what_is_rare(engine, shape, array, sort):
    """Windows that share an array for rows that overflow, interleaved convolutions, many groups or tiles."""
    best = map_layer(shape, array, "best")
    assert any(map(sort, best.regions))
    for mapping in (best, map_one_window(shape, array), map_with_window(shape, array, (2, 3))):
        compare(engine, mapping, most=6)


@settings(max_examples=20)
@given(data=st.data(), array=ARRAYS)
def test_the_steps_of_the_page_are_the_convolution(engine, data, array):
    """Each product that it names, of a cell's weight with its row's input, is of its column's output."""
    shape = data.draw(conv_shapes(channels=2, outputs=3, largest=6))
    mapping = map_layer(shape, array, data.draw(st.sampled_from(MAPPINGS)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    inputs = rng.integers(-9, 9, (shape.in_channels, *shape.input))
    weights = rng.integers(-9, 9, (shape.m, shape.in_channels // shape.groups, *shape.kernel))
    tables = Tables()
    given_ = [stage_rule(mapping, tables), tables.masks, inputs.ravel().tolist(), weights.ravel().tolist()]
    sums = json.loads(engine.eval(f"JSON.stringify(run(...{json.dumps(given_)}))"))
    outputs = np.zeros((shape.m, *shape.output), int)
    for place, value in sums.items():
        outputs[tuple(map(int, place.split(",")))] = value
    assert (outputs == execute(mapping, inputs, weights)).all()


def test_colours_are_those_of_pictures(engine):
    """Each cell of the page has the colour that the picture of the layer gives it."""
    shape = ConvShape("layer", 4, 8, (3, 3), (8, 8), padding=(1, 1, 1, 1))
    mapping = map_layer(shape, ArraySpec(32, 32), "2x2")
    (region,) = mapping.regions
    tables = Tables()
    (rule,) = stage_rule(mapping, tables)["regions"]
    colours = np.frombuffer(bytes.fromhex(tables.colours[rule["colours"]]), np.uint8).reshape(-1, 3)
    (shown,) = told(engine, mapping)["regions"]
    for tile, own in zip(region.tiles(), shown["tiles"], strict=True):
        drawn = cell_colours(region, tile)[: tile.rows, : tile.columns]
        held = np.array(own["weights"]) >= 0
        of_page = colours[np.array(own["copies"])][None].repeat(tile.rows, axis=0)
        assert (of_page[held] == drawn[held]).all()
