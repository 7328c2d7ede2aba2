"""Layers that no gradient comes back to, though the outputs depend on them."""

import pytest
import torch
from torch import Tensor, nn

import rankfold as rf
from rankfold.calibration.blocked import blocked
from rankfold.errors import InputError
from rankfold.plan import Windows, uniform_plan
from rankfold.planning import PlanLosses
from rankfold.planning.exact.widths import BitChoices

IMAGES = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
STOPS = {
    "rounded": lambda x: torch.round(x * 8) / 8,
    "detached": Tensor.detach,
    "signs": torch.sign,
    "open": nn.functional.relu,
    "unread": torch.zeros_like,
}


class Stopped(nn.Module):
    """Three convolutions, with something behind the second."""

    def __init__(self, stop: str, everywhere: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.third, self.stop, self.everywhere = nn.Conv2d(8, 8, 3, padding=1), STOPS[stop], everywhere

    def forward(self, x: Tensor) -> Tensor:
        y = self.third(self.stop(self.second(self.first(x))))
        if self.everywhere:
            y = self.stop(y)
        return y.mean((2, 3))


@pytest.mark.parametrize("stop", STOPS)
def test_they_are_found(stop: str) -> None:
    names = ["first", "second", "third"]
    stops = stop in ("rounded", "detached", "signs")
    expected = {"first", "second"} if stops else set()
    assert blocked(Stopped(stop).eval(), [IMAGES], names) == expected
    assert blocked(Stopped(stop).requires_grad_(False), [IMAGES], names) == expected
    assert not blocked(Stopped(stop), [], names) and not blocked(Stopped(stop), [IMAGES], [])


class Twice(nn.Module):
    """A layer that runs twice, the second time for something."""

    def __init__(self, second: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.twice, self.last = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.second = STOPS[second]

    def forward(self, x: Tensor) -> Tensor:
        y = self.twice(x)
        return self.last(y + self.second(self.twice(y))).mean((2, 3))


@pytest.mark.parametrize("second", STOPS)
def test_a_run_that_nothing_reads_blocks_no_layer(second: str) -> None:
    """But one that is read without a gradient does, whatever others have."""
    expected = {"twice"} if second in ("rounded", "detached", "signs") else set()
    assert blocked(Twice(second).eval(), [IMAGES], ["twice", "last"]) == expected


@pytest.mark.parametrize("layer_bits", [None, "3-4"])
def test_they_stay_as_they_are_in_plans(layer_bits: str | None) -> None:
    """Their changes look as if they cost nothing."""
    choices = None
    if layer_bits is not None:
        choices = BitChoices.parse(layer_bits)
    budget = rf.Budget("cycles", 0.9, share=True)
    array = rf.ArraySpec(16, 16)
    found = rf.best_plan(Stopped("rounded"), [IMAGES], array, budget, layer_bits=choices)
    entries = {layer.name: layer for layer in found.plan.layers}
    assert entries["second"].kind.name == "dense" and entries["third"].kind.name != "dense"
    assert "no gradient comes back to it" in entries["second"].reason
    assert entries["second"].weight_bits == 4


def test_where_nothing_is_left_it_is_said() -> None:
    model = Stopped("rounded", everywhere=True)
    with pytest.raises(InputError, match=r"not differentiable|no gradient comes back"):
        rf.best_plan(model, [IMAGES], rf.ArraySpec(16, 16), rf.Budget("cycles", 0.9, share=True))
    network = rf.trace(Stopped("signs"), (3, 8, 8))
    plan = uniform_plan(network, rf.ArraySpec(16, 16), Windows(row_tiles=2))
    with pytest.raises(InputError, match="layer second: no gradient comes back to it"):
        PlanLosses.on(Stopped("signs"), [IMAGES], [plan])
