"""Weights that are NaN are refused: whatever came in, the class of largest score would be the first one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import rankfold as rf
from common.two_convolutions import net
from rankfold.export.array_images.images import write_arrays
from rankfold.export.onnx.write import write_onnx

IMAGES = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
GOOD = [(IMAGES, torch.arange(8) % 4)]
DAMAGED = ("2.reduce.weight", "5.bias")


@pytest.fixture
def quantised() -> tuple[nn.Module, rf.Plan]:
    model = net()
    network = rf.trace(model, (3, 8, 8), "small")
    plan = rf.uniform_plan(network, rf.ArraySpec(32, 32), rf.LowRank(rank=2), bits=4)
    rf.compress_(model, plan, GOOD)
    return model, rf.quantise_(model, plan, GOOD)


VERBS: dict[str, Callable[[nn.Module, rf.Plan, Path], Any]] = {
    "save": lambda model, plan, out: rf.save(model, plan, out),
    "simulate": lambda model, plan, _: rf.simulate(model, plan),
    "write_onnx": lambda model, _, out: write_onnx(model, (3, 8, 8), out),
    "write_arrays": lambda model, plan, out: write_arrays(model, plan, out),
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_a_damaged_network_goes_nowhere(quantised, tmp_path, verb, name) -> None:
    model, plan = quantised
    model.get_parameter(name).data.view(-1)[0] = math.nan
    with pytest.raises(rf.InputError, match=rf"the network: {name} holds values that are no numbers \(NaN\)"):
        verb(model, plan, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_it_has_no_accuracy(quantised) -> None:
    model, _ = quantised
    model.get_parameter("5.bias").data[0] = math.nan
    with pytest.raises(rf.InputError, match=r"scores that are no numbers \(NaN\) for the data"):
        rf.evaluate(model, GOOD)


def test_a_damaged_file_leaves_the_network_as_it_was(quantised, tmp_path) -> None:
    model, plan = quantised
    rf.save(model, plan, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["5.bias"][0] = math.nan
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(rf.InputError, match=r"model\.safetensors: 5\.bias holds values that are no numbers"):
        rf.load_(net(), tmp_path)
    # And so does one of another network, which is found out when layers and quantisers are there already.
    rf.save(model, plan, tmp_path)
    wider = nn.Sequential(*net()[:5], nn.Linear(8, 5))
    parameters = dict(wider.named_parameters())
    values = {name: value.clone() for name, value in parameters.items()}
    with pytest.raises(rf.InputError, match="for another network or number of classes"):
        rf.load_(wider, tmp_path)
    assert [type(module) for module in wider] == [type(module) for module in net()]
    for name, value in wider.named_parameters():
        assert value is parameters[name] and torch.equal(value, values[name])


class WithState(nn.ReLU):
    """Keeps what is no tensor in the state of the network."""

    def get_extra_state(self) -> Any:
        return {"seen": 3}

    def set_extra_state(self, state: Any) -> None:
        assert state == {"seen": 3}


def test_what_is_no_tensor_passes(quantised, tmp_path) -> None:
    model, plan = quantised
    model[1] = WithState()
    write_onnx(model, (3, 8, 8), tmp_path / "net.onnx")
    assert rf.evaluate(rf.simulate(model, plan), GOOD) == rf.evaluate(model, GOOD)


def test_infinite_values_pass(quantised, tmp_path) -> None:
    """Networks have them in masks, such as those of attention."""
    model, plan = quantised
    model.register_buffer("mask", torch.full((2, 2), -math.inf))
    rf.save(model, plan, tmp_path)
    fresh = net()
    fresh.register_buffer("mask", torch.zeros(2, 2))
    rf.load_(fresh, tmp_path)
    assert fresh.mask.isinf().all()
    assert rf.evaluate(fresh, GOOD) == rf.evaluate(model, GOOD)
