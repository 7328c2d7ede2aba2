"""Hooks that look at a network's modules, and are gone afterwards."""

import pytest
import torch
from torch import nn

from rankfold.calibration.observation import observing


class _Positional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 2)

    def forward(self, x):
        return self.second(input=self.first(x))


def _hooks(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_sees_inputs_given_by_place_and_by_keyword():
    model, x, calls = _Positional(), torch.randn(4, 3), []
    layers = {"a": model.first, "b": model.second}

    def before(name, module, seen):
        calls.append((name, module, seen))

    with observing(layers, before=before):
        model(x)
    assert [name for name, _, _ in calls] == ["a", "b"]
    assert [module for _, module, _ in calls] == [model.first, model.second]
    assert torch.equal(calls[0][2], x)
    assert torch.equal(calls[1][2], model.first(x))


def test_after_sees_the_output_and_may_replace_it():
    model, x, outputs = _Positional(), torch.randn(4, 3), []

    def after(name, module, seen, output):
        outputs.append(output)
        return torch.zeros_like(output)

    with observing({"first": model.first}, after=after):
        changed = model(x)
    assert torch.equal(outputs[0], model.first(x))
    assert torch.equal(changed, model.second(torch.zeros(4, 3)))


def test_what_before_returns_does_not_change_the_input():
    model, x = _Positional(), torch.randn(4, 3)
    wanted = model(x)
    with observing({"first": model.first}, before=lambda *_: torch.zeros(4, 3)):
        assert torch.equal(model(x), wanted)


def test_no_hook_is_left_behind_after_an_error():
    model = _Positional()
    layers = {"first": model.first, "second": model.second}

    def fail(*_):
        raise KeyError("in the callback")

    with pytest.raises(KeyError, match="in the callback"), observing(layers, before=fail, after=fail):
        assert _hooks(model) == 4
        model(torch.randn(4, 3))
    assert _hooks(model) == 0


def test_no_hook_is_left_behind_when_a_module_takes_none():
    model = _Positional()

    class Refusing(nn.Module):
        def register_forward_pre_hook(self, *_, **__):
            raise RuntimeError("takes no hook")

    layers = {"first": model.first, "other": Refusing()}
    with pytest.raises(RuntimeError, match="takes no hook"), observing(layers, before=lambda *_: None):
        pass
    assert _hooks(model) == 0
