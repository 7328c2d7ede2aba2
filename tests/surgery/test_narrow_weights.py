"""Weights leave out their lowest level where the cells of the plan's arrays do not hold it."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from rankfold.errors import InputError
from rankfold.machine import DEFAULT_HARDWARE, Hardware
from rankfold.mapping import ArraySpec
from rankfold.nn.quantised import QuantConv2d
from rankfold.plan import LayerPlan, LowRank, uniform_plan
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


def planned(bits, hardware: ArraySpec | Hardware = ARRAY):
    network = trace(dense(), (3, 6, 6))
    return uniform_plan(network, ARRAY, LowRank(groups=2, rank=4, force=True), bits=bits).on(hardware)


def quantised(bits, hardware: ArraySpec | Hardware = ARRAY, plan=None, wanted=None):
    """A network on data, its plan, and the data; half of a layer's largest weights are far below zero."""
    model, batches = dense(), [torch.randn(16, 3, 6, 6)]
    plan = plan or planned(bits, hardware)
    compress_(model, plan)
    return model, quantise_(model, plan, batches, hardware=wanted), batches[0]


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


def saturated(model, plan, hardware):
    return sum(layer.saturated for layer in simulated_layers(simulate(model, plan, hardware)))


def test_levels_are_saved_and_loaded_with_the_network(tmp_path):
    model, plan, x = quantised(3)
    save(model, plan, tmp_path)
    again = dense()
    assert load_(again, tmp_path) == plan
    assert torch.equal(again(x), model(x))
    quantisers = [part.weight_quantiser for part in again.modules() if isinstance(part, QuantConv2d)]
    assert {quantiser.low for quantiser in quantisers} == {-3, -128}


def test_a_network_whose_plan_says_nothing_keeps_all_its_levels(tmp_path):
    """As those of older files, whose weights of -4 must not become -3, though cells lack it."""
    model, plan, x = quantised(3, wanted=cells(3))
    assert min(int(part.integer_weights().min()) for part in (model[2].reduce, model[2].expand)) == -4
    save(model, plan, tmp_path)
    assert "narrow_weights" not in (tmp_path / "plan.json").read_text()
    again = dense()
    loaded = load_(again, tmp_path)
    assert torch.equal(again(x), model(x))
    assert saturated(again, loaded, loaded.machine)


@pytest.mark.parametrize(("bits", "narrow", "other"), [(4, False, SRAM), (3, True, cells(3))])
def test_a_settled_plan_is_settled_anew_for_other_hardware(bits, narrow, other):
    _, plan, _ = quantised(bits)
    assert plan.layer("2").narrow_weights == narrow
    model, again, _ = quantised(bits, plan=plan.on(other))
    assert again.layer("2").narrow_weights != narrow
    assert not saturated(model, again, again.machine)


def test_a_settled_plan_is_settled_anew_for_other_bits():
    _, plan, _ = quantised(4)
    layers = [replace(layer, weight_bits=3) for layer in plan.layers]
    _, again, _ = quantised(3, plan=replace(plan, layers=tuple(layers)))
    assert again.layer("2").narrow_weights


def test_a_technology_that_is_not_there_is_refused_before_anything_changes():
    model, plan = dense(), planned(4, replace(DEFAULT_HARDWARE, name="gone", technology="gone.yaml"))
    compress_(model, plan)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    with pytest.raises(InputError, match=r"gone\.yaml"):
        quantise_(model, plan, [torch.randn(16, 3, 6, 6)])
    assert model.state_dict().keys() == before.keys()
    # Who names cells needs no table.
    quantise_(model, plan, [torch.randn(16, 3, 6, 6)], hardware=cells(2))


def test_a_plan_of_other_levels_than_the_network_s_is_refused(tmp_path):
    model, plan, _ = quantised(3)
    other = replace(plan, layers=tuple(replace(layer, narrow_weights=False) for layer in plan.layers))
    with pytest.raises(
        InputError, match="layer 2: narrow_weights is False in the plan and True in the network"
    ):
        save(model, other, tmp_path)


@pytest.mark.parametrize("bits", [None, 1])
def test_levels_are_left_out_only_where_there_are_some(bits):
    with pytest.raises(InputError, match="layer conv: narrow_weights needs weight_bits of 2 or more"):
        LayerPlan("conv", weight_bits=bits, input_bits=bits, narrow_weights=True)


def test_binary_weights_have_their_two_levels(tmp_path):
    model, plan, x = quantised(1, SRAM)
    save(model, plan, tmp_path)
    again = dense()
    load_(again, tmp_path)
    assert torch.equal(again(x), model(x)) and not plan.layer("2").narrow_weights
