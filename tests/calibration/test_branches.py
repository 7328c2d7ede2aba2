"""Layers that a network can do without, and what skipping them is predicted to lose."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.calibration.backward import Backward
from rankfold.calibration.branches import branches, unread
from rankfold.calibration.network_sensitivities import network_sensitivities
from rankfold.calibration.observation import observing

IMAGES = torch.randn(12, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Forked(nn.Module):
    """A stem, a bottleneck with a projected shortcut, a branch that is joined, one that gates, and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.one = nn.Conv2d(4, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.two = nn.Conv2d(2, 2, 3, padding=1)
        self.three = nn.Conv2d(2, 4, 1)
        self.shortcut = nn.Conv2d(4, 4, 1)
        self.joined = nn.Conv2d(4, 2, 3, padding=1)
        self.gate = nn.Conv2d(6, 6, 1)
        self.unused = nn.Conv2d(4, 2, 1)
        self.head = nn.Conv2d(6, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.stem(x))
        y = self.three(self.two(F.relu_(self.norm(self.one(x)))))
        x = F.relu_(self.shortcut(x) + y)
        self.unused(x)
        x = torch.cat((x, self.joined(x)), 1)
        x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        return self.head(x).mean((2, 3))


LAYERS = ["stem", "one", "two", "three", "shortcut", "joined", "gate", "unused", "head"]


def test_what_a_way_goes_around_and_what_only_feeds_it() -> None:
    model = Forked().train()
    found = branches(model, [IMAGES], LAYERS)
    assert model.training
    # The layer whose values go nowhere feeds none.
    assert found.feeding == {
        "one": frozenset(),
        "two": {"one"},
        "three": {"one", "two"},
        "shortcut": frozenset(),
        "joined": frozenset(),
        "gate": frozenset(),
        "unused": frozenset(),
    }
    nearest = found.nearest
    assert nearest["one"] == "two" and nearest["two"] == "three" and "three" not in nearest


def test_frozen_networks_and_layers_that_run_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same, self.once = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
            return {"maps": [self.same(x + self.once(self.same(x)))]}

    model = Twice().requires_grad_(False)
    # Every way passes one of its runs.
    assert dict(branches(model, [IMAGES], ["same", "once"]).feeding) == {"once": frozenset()}
    assert not branches(model, [IMAGES], []).feeding and not branches(model, [], ["once"]).feeding


class Gated(nn.Module):
    """A layer that the outputs read without a gradient, beside one that it feeds."""

    def __init__(self, gate: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.third, self.gate = nn.Conv2d(3, 3, 1), gate

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        gates = {"hard": y > 0, "detached": y.detach(), "none": torch.ones(())}
        return x * gates[self.gate] + self.third(self.second(y))


@pytest.mark.parametrize("gate", ["hard", "detached"])
def test_what_reads_a_layer_without_a_gradient_is_seen(gate: str) -> None:
    names = ["first", "second", "third"]
    found = branches(Gated(gate), [IMAGES], names).feeding
    assert found == {"first": frozenset(), "second": frozenset(), "third": {"second"}}
    assert branches(Gated("none"), [IMAGES], names).feeding["second"] == {"first"}


@pytest.mark.parametrize("gate", ["hard", "detached", "none"])
def test_layers_are_unread_only_where_that_is_certain(gate: str) -> None:
    class Ended(nn.Module):
        def __init__(self, ends: bool) -> None:
            super().__init__()
            self.gated, self.ends = Gated(gate), ends
            self.gated.third.register_forward_hook(lambda _, __, output: torch.zeros_like(output))

        def forward(self, x: Tensor) -> Tensor:
            given: Tensor = self.gated(x)
            return given.argmax(1) if self.ends else given

    names = ["gated.first", "gated.second"]
    wanted = {"gated.second"} if gate != "none" else set(names)
    assert unread(Ended(False), IMAGES[:1], names) == wanted
    assert unread(Ended(True), IMAGES[:1], names) == frozenset()


@pytest.mark.parametrize("name", ["two", "joined"])
def test_the_predicted_loss_is_that_of_outputs_that_become_their_means(name: str) -> None:
    model = Forked().eval()
    seen: list[Tensor] = []
    with observing(
        {name: model.get_submodule(name)}, after=lambda _, __, ___, output: seen.append(output.detach())
    ):
        model(IMAGES)
    (outputs,) = seen
    ((_, (run,), _),) = list(Backward(model, [IMAGES], [name], 3, 4.0))
    lost = outputs - outputs.mean((0, 2, 3), keepdim=True)
    wanted = (run.gradient * lost).sum((1, 2, 3)).square().mean() / 2
    # In two batches the labels are drawn in the same order; other layers that are looked at change nothing.
    for batches, others in (([IMAGES], []), ([IMAGES[:8], IMAGES[8:]], []), ([IMAGES], ["two"])):
        found = network_sensitivities(model, batches, others, {}, seed=3, temperature=4.0, skippable=[name])
        assert found.skipping == {name: pytest.approx(float(wanted), rel=1e-4)}
        assert found.layers.keys() == set(others)
