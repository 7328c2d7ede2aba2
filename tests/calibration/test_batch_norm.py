"""Laws of statistics of batch norm that are estimated anew."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from rankfold.calibration.batch_norm import reestimate_batch_norm_
from rankfold.errors import InputError


def data(batches: int = 3, size: int = 8) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(size, 3, 8, 8, generator=draw) for _ in range(batches)]


def network() -> nn.Sequential:
    """A convolution, its norm, and a dropout, whose mode should stay as it is."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5))


def test_reestimated_statistics_equal_those_computed_directly():
    model = network()
    norm = model[1]
    norm.momentum = 0.3
    model[2].eval()
    batches = data(batches=5, size=6)
    reestimate_batch_norm_(model, (batch for batch in batches))
    with torch.no_grad():
        values = [model[0](batch).transpose(0, 1).flatten(1) for batch in batches]
    torch.testing.assert_close(norm.running_mean, torch.stack([v.mean(1) for v in values]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([v.var(1) for v in values]).mean(0))
    assert norm.momentum == 0.3
    assert int(norm.num_batches_tracked) == 5
    assert norm.training and not model[2].training


def test_reestimation_without_batches_keeps_the_statistics():
    model = network()
    model(data()[0])
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match="batches is empty"):
        reestimate_batch_norm_(model, [])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model[1].momentum == 0.1
    reestimate_batch_norm_(nn.Conv2d(1, 1, 1), [])  # nothing to do


def test_reestimation_skips_norms_that_keep_no_statistics():
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.BatchNorm2d(3, affine=False))
    reestimate_batch_norm_(model, data())
    assert int(model[1].num_batches_tracked) == 3
