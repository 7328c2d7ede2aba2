"""Weights leave out their lowest level where the cells of the plan's arrays do not hold it."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from rankfold.errors import InputError
from rankfold.machine import DEFAULT_HARDWARE, Hardware
from rankfold.mapping import ArraySpec
from rankfold.nn.quantised import QuantConv2d
from rankfold.plan import LowRank, uniform_plan
from rankfold.simulator import simulate, simulated_layers
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.saving import load_, save
from rankfold.workload import trace

ARRAY = ArraySpec(64, 64)
SRAM = replace(DEFAULT_HARDWARE, name="sram", technology="sram-22nm")  # cells of one bit


def dense():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.Flatten()
    model = nn.Sequential(*layers, nn.Linear(16 * 6 * 6, 5))
    with torch.no_grad():
        model[2].weight[:, 0] -= 0.5  # most of the largest magnitudes are negative
    return model.eval()


def quantised(bits, hardware: ArraySpec | Hardware = ARRAY, **plan_changes):
    """A network on data, its plan, and the data; half of a layer's largest weights are far below zero."""
    model, batches = dense(), [torch.randn(16, 3, 6, 6)]
    plan = uniform_plan(trace(model, (3, 6, 6)), ARRAY, LowRank(groups=2, rank=4, force=True), bits=bits).on(
        hardware
    )
    layers = [replace(layer, **plan_changes) for layer in plan.layers]
    plan = replace(plan, layers=tuple(layers))
    compress_(model, plan)
    return model, quantise_(model, plan, batches), batches[0]


def cells(bits):
    return replace(ARRAY, cell_bits=bits)


@pytest.mark.parametrize(
    ("hardware", "narrow"),
    [
        (ARRAY, {3, 5, 7}),  # the default technology's: 2 bits
        (SRAM, {2, 3, 4, 5, 6, 7, 8}),
        (cells(1), {2, 3, 4, 5, 6, 7, 8}),
        (cells(3), {4, 7}),
        (replace(cells(1), coding="offset"), set()),
    ],
)
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 7])
def test_cells_hold_every_weight_of_a_network_that_was_quantised_for_them(bits, hardware, narrow):
    """And no level is given up that they have."""
    model, plan, _ = quantised(bits, hardware)
    layers = simulated_layers(simulate(model, plan, plan.machine))
    assert len(layers) == 4 and not any(layer.saturated for layer in layers)
    assert plan.layer("2").narrow_weights == (bits in narrow)
    lowest = {part.weight_quantiser.low for part in (model[2].reduce, model[2].expand)}
    assert lowest == {-(1 << bits - 1) + (bits in narrow)}


def test_levels_are_saved_and_loaded_with_the_network(tmp_path):
    model, plan, x = quantised(3)
    save(model, plan, tmp_path)
    again = dense()
    assert load_(again, tmp_path) == plan
    assert torch.equal(again(x), model(x))
    assert {part.weight_quantiser.low for part in again.modules() if isinstance(part, QuantConv2d)} == {
        -3,
        -128,
    }


def test_a_network_of_an_older_plan_keeps_all_its_levels(tmp_path):
    """Files of plans said nothing of levels; weights of -4 must not become -3 when they are loaded."""
    model, plan, x = quantised(3, narrow_weights=False)
    assert min(int(part.integer_weights().min()) for part in (model[2].reduce, model[2].expand)) == -4
    save(model, plan, tmp_path)
    content = json.loads((tmp_path / "plan.json").read_text())
    for layer in content["layers"]:
        assert layer.pop("narrow_weights") is False
    (tmp_path / "plan.json").write_text(json.dumps(content))
    again = dense()
    loaded = load_(again, tmp_path)
    assert torch.equal(again(x), model(x))
    # They are too low for default cells, which `simulate` counts.
    assert any(layer.saturated for layer in simulated_layers(simulate(again, loaded, loaded.machine)))


def test_a_plan_of_other_levels_than_the_network_s_is_refused(tmp_path):
    model, plan, _ = quantised(3)
    other = replace(plan, layers=tuple(replace(layer, narrow_weights=False) for layer in plan.layers))
    with pytest.raises(
        InputError, match="layer 2: narrow_weights is false in the plan and true in the network"
    ):
        save(model, other, tmp_path)
