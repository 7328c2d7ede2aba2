"""Runs that wait at blocks: what they give is what runs from the start give, each computed once."""

import threading

import pytest
import torch
from torch import nn

from rankfold.errors import InputError
from rankfold.training.reconstruction import reconstruct_
from rankfold.training.waiting_runs import WaitingRuns

BLOCKS = ("a", "b", "c")


class Skips(nn.Module):
    """Three layers, the output of the first used again behind the second."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.runs = 0

    def forward(self, x):
        self.runs += 1
        first = self.a(x).relu_()  # in place, behind what is looked at
        return self.c(self.b(first) + first)


def from_the_start(model, name, batch):
    """What a block reads and gives."""
    seen = []
    hook = model.get_submodule(name).register_forward_hook(
        lambda _, given, gives: seen.extend([*given, gives])
    )
    with torch.no_grad():
        given = [value.clone() for value in (model(batch), *seen)][1:]
    hook.remove()
    return given


@pytest.fixture(params=[None, 0, 200], ids=["all wait", "none waits", "some wait"])
def memory(request):
    return request.param


def test_values_are_those_of_runs_from_the_start_though_blocks_change(memory):
    """Each is changed when its inputs are known, as by training; other calls of it are not taken for runs."""
    model, batches = Skips(), [torch.randn(3, 4), torch.randn(2, 4), torch.randn(3, 4)]
    threads = threading.active_count()
    with WaitingRuns(model, BLOCKS, batches, memory) as runs:
        for name in BLOCKS:
            found = [value.clone() for value in runs.values(name, outputs=False)]
            block = model.get_submodule(name)
            with torch.no_grad():
                block(found[0])
                block.weight += 1
            gives = [value.clone() for value in runs.values(name, outputs=True)]
            for batch, reads, given in zip(batches, found, gives, strict=True):
                wanted = from_the_start(model, name, batch)
                if name != "a":
                    assert torch.equal(reads, wanted[0])
                if name == "c":
                    assert torch.equal(given, wanted[1])
                assert torch.equal(given, block(reads))
    assert threading.active_count() == threads
    assert not model.a._forward_hooks and not model.a._forward_pre_hooks


def test_a_batch_runs_once_where_memory_suffices():
    model, batches = Skips(), [torch.randn(3, 4) for _ in range(5)]
    with WaitingRuns(model, BLOCKS, batches) as runs:
        for name in BLOCKS:
            assert len(list(runs.values(name, outputs=True))) == 5
        # One more on the first batch tells how much memory a run takes.
        assert model.runs == 6
        runs.begin_anew()
        assert len(list(runs.values("a", outputs=False))) == 5
    assert model.runs == 11


def test_what_goes_wrong_is_told(memory):
    class Leaves(Skips):
        def forward(self, x):
            if x[0, 0] > 0:
                return self.a(x)
            raise ValueError("no such sample")

    batches = [torch.ones(1, 4), -torch.ones(1, 4)]
    with WaitingRuns(Leaves(), BLOCKS, batches, memory) as runs:
        with pytest.raises(InputError, match="module b runs on some batches of the data and not on others"):
            list(runs.values("b", outputs=False))
        with pytest.raises(InputError, match="module c runs on some batches"):
            list(runs.values("c", outputs=False))
    failing = pytest.raises(InputError, match=r"the network fails on a batch of .*: no such sample")
    with WaitingRuns(Leaves(), BLOCKS, batches, memory) as runs, failing:
        list(runs.values("a", outputs=False))


def shared(seed):
    """Layers of which the first two have the same weight, so that training the second changes what ran."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    return net


def test_blocks_are_trained_the_same_whether_runs_wait_or_begin_anew(monkeypatch):
    batches, found = [torch.randn(32, 4)], []
    for memory in (1 << 30, 0):
        monkeypatch.setattr("rankfold.training.waiting_runs.MEMORY", memory)
        net = shared(0)
        reconstruct_(net, shared(1), batches, images=32, steps=3)
        found.append(net.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not torch.equal(found[0]["0.weight"], shared(0)[0].weight)
