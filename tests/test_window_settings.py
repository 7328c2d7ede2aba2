"""The settings and tables of the measurements of windows."""

from math import ceil

import pytest
from measured_rows import Rows
from window_settings import BY_STAGE, BY_STAGE_NAME, plan_of, without_bits

from rankfold import ArraySpec, cycles, zoo_network

NETWORK = zoo_network("resnet20")


@pytest.mark.parametrize(("size", "needed"), [(64, 5440), (128, 2208)])
def test_settings_by_stage_need_the_cycles_that_they_are_known_by(size, needed):
    plan = plan_of(BY_STAGE_NAME, NETWORK, ArraySpec(size, size))
    assert cycles(NETWORK, plan).chosen_cycles == needed
    assert cycles(NETWORK, without_bits(plan)).chosen_cycles == needed


@pytest.mark.parametrize("size", BY_STAGE)
def test_one_row_tile_needs_as_few_cycles_as_there_are_outputs(size):
    plan = plan_of("windows, k = 1", NETWORK, ArraySpec(size, size))
    first, *others = NETWORK.convolutions
    outputs = [ceil(shape.output[0] * shape.output[1] * shape.m / size) for shape in others]
    layers = cycles(NETWORK, plan).layers
    assert layers[0].shape == first
    assert [layer.chosen_cycles for layer in layers[1:]] == outputs


def test_rows_are_taken_up_again(tmp_path):
    path = tmp_path / "table.csv"
    rows = Rows(path, ("array", "setting", "accuracy"), 2)
    rows.add(["64x64", "windows, k = 1", 0.5])
    again = Rows(path, ("array", "setting", "accuracy"), 2)
    assert ["64x64", "windows, k = 1"] in again
    assert ["64x64", "windows, k = 2"] not in again
    again.add(["64x64", "windows, k = 2", None])
    assert Rows(path, again.header, 2).rows == [
        ["64x64", "windows, k = 1", "0.5"],
        ["64x64", "windows, k = 2", ""],
    ]
    with pytest.raises(SystemExit, match="has other columns than this script writes"):
        Rows(path, ("array", "accuracy"), 1)
