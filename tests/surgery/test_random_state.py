"""A user's own random numbers do not depend on what was compressed before they were drawn."""

import pytest
import torch
from torch import nn

from rankfold.mapping import ArraySpec
from rankfold.plan import LowRank, PatDNN, SharedSupport, uniform_plan
from rankfold.surgery.compress import compress_
from rankfold.surgery.quantise import quantise_
from rankfold.surgery.saving import load_, save
from rankfold.workload import trace

METHODS = [
    LowRank(groups=2, rank=4, linear=True, force=True),
    LowRank(rank=4, entries=4, force=True),
    PatDNN(4),
    SharedSupport(4),
]


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 8),
            nn.Linear(8, 4),
        )


@pytest.mark.parametrize("method", METHODS)
def test_no_verb_draws_from_it(method, tmp_path):
    model, batches = network(), [torch.randn(16, 3, 8, 8)]
    plan = uniform_plan(trace(model, (3, 8, 8)), ArraySpec(32, 32), method, bits=4)
    before = torch.get_rng_state()
    compress_(model, plan, batches)
    plan = quantise_(model, plan, batches)
    save(model, plan, tmp_path)
    load_(network(), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
