"""Surgery that fails leaves the network as it was: its modules, its parameters and their values."""

import copy

import pytest
import torch
from torch import nn

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, PatDNN, SharedSupport, uniform_plan
from rankfold.surgery import by_weights
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.undo import unchanged_on_error
from rankfold.workload import trace

IMAGE = (3, 8, 8)
METHODS = {
    "low-rank": LowRank(groups=2, rank="1/4", force=True),
    "support": SharedSupport(4),
    "patdnn": PatDNN(4),
}


def net():
    """Four convolutions; the first and the last layer of a network stay dense."""
    layers: list[nn.Module] = []
    for inputs in (3, 8, 8, 8):
        layers += [nn.Conv2d(inputs, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 64, 4))


def batches():
    return [torch.randn(16, *IMAGE, generator=torch.Generator().manual_seed(3))]


def assert_unchanged(model, before, modules, parameters):
    assert dict(model.named_modules()) == modules
    held = dict(model.named_parameters())
    assert held.keys() == parameters.keys()
    assert all(held[name] is parameter for name, parameter in parameters.items())
    now = model.state_dict()
    assert now.keys() == before.keys()
    for name, value in before.items():
        assert torch.equal(now[name].nan_to_num(7.0), value.nan_to_num(7.0)), name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("decomposition", ["svd", "data", "sequential"])
def test_a_layer_that_cannot_be_made_leaves_those_before_it(method, decomposition, monkeypatch):
    model = net()
    plan = uniform_plan(trace(model, IMAGE), ArraySpec(32, 32), METHODS[method])
    assert len(plan.changed) >= 2
    last = plan.changed[-1].name
    before = copy.deepcopy(model.state_dict())
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    made = by_weights._replacement

    def failing(layer, *args):
        replacement = made(layer, *args)
        if layer.name == last:
            raise RuntimeError("no factors")
        return replacement

    monkeypatch.setattr(by_weights, "_replacement", failing)
    with pytest.raises(RuntimeError, match="no factors"):
        compress_(model, plan, batches(), decomposition=decomposition)
    assert_unchanged(model, before, modules, parameters)


@pytest.mark.parametrize("method", ["low-rank", "support"])
def test_a_weight_that_is_no_number_leaves_the_layers_before_it(method):
    model = net()
    plan = uniform_plan(trace(model, IMAGE), ArraySpec(32, 32), METHODS[method])
    with torch.no_grad():
        model.get_submodule(plan.changed[-1].name).weight[0, 0, 0, 0] = float("nan")
    before = copy.deepcopy(model.state_dict())
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    for decomposition in ("svd", "data", "sequential"):
        with pytest.raises(
            InputError, match=f"{plan.changed[-1].name}.weight holds values that are no numbers"
        ):
            compress_(model, plan, batches(), decomposition=decomposition)
    assert_unchanged(model, before, modules, parameters)


def test_quantisers_that_cannot_be_set_leave_the_norms():
    model = net()
    plan = uniform_plan(trace(model, IMAGE), ArraySpec(32, 32), METHODS["low-rank"], bits=4)
    compress_(model, plan, batches())
    with torch.no_grad():
        model[-1].weight[0, 0] = float("nan")
    before = copy.deepcopy(model.state_dict())
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    with pytest.raises(InputError):
        quantise_(model, plan, batches())
    assert_unchanged(model, before, modules, parameters)


def test_attributes_modes_and_storages_come_back():
    model = net()
    before = copy.deepcopy(model.state_dict())
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    view = model[0].weight.data
    with pytest.raises(KeyboardInterrupt), unchanged_on_error(model):
        model.eval()
        model[0].out_channels = 4
        model[0].weight.data = model[0].weight.data[:4]
        view.zero_()
        model[1].running_mean.add_(1.0)
        model[3].weight = nn.Parameter(torch.zeros(1))
        model[4] = nn.Identity()
        raise KeyboardInterrupt
    assert_unchanged(model, before, modules, parameters)
    assert model.training and model[1].training and model[0].out_channels == 8
    assert model[0].weight.data_ptr() == view.data_ptr()


def test_nothing_is_put_back_without_an_error():
    model = net()
    with unchanged_on_error(model):
        model[0] = nn.Identity()
    assert isinstance(model[0], nn.Identity)
