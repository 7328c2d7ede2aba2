"""Laws of statistics of batch norm that are estimated anew."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import rankfold as rf
from rankfold.calibration.batch_norm import follow_batch_norm_, reestimate_batch_norm_
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


def norms_of(model):
    return [
        (norm.running_mean.clone(), norm.running_var.clone())
        for norm in model
        if hasattr(norm, "running_mean")
    ]


def two_norms():
    """With statistics that no data below have."""
    torch.manual_seed(0)
    conv, norm = nn.Conv2d, nn.BatchNorm2d
    model = nn.Sequential(conv(2, 4, 3), norm(4), nn.ReLU(), conv(4, 3, 1), norm(3))
    for one in (model[1], model[4]):
        one.running_mean.normal_()
        one.running_var.uniform_(0.5, 2)
        nn.init.normal_(one.weight)
    return model.eval()


STRANGE = [5 * torch.randn(6, 2, 7, 7) + 3, torch.rand(2, 2, 7, 7)]


def test_followed_norms_of_an_unchanged_network_stay_whatever_the_data():
    model = two_norms()
    before = norms_of(model)
    follow_batch_norm_(model, copy.deepcopy(model), STRANGE)
    for (mean, variance), (mean_before, variance_before) in zip(norms_of(model), before, strict=True):
        torch.testing.assert_close(mean, mean_before)
        torch.testing.assert_close(variance, variance_before)
    reestimate_batch_norm_(model, STRANGE)
    assert (norms_of(model)[0][0] - before[0][0]).abs().max() > 1


def test_followed_norms_take_back_what_is_added_to_their_inputs():
    """Both norms at once: the second one sees what the first one, set right, gives."""
    model, reference = two_norms(), two_norms()
    with torch.no_grad():
        model[0].bias += torch.tensor([1.0, -2, 3, -4])
        model[3].bias -= 7
    follow_batch_norm_(model, reference, STRANGE)
    for batch in STRANGE:
        torch.testing.assert_close(model(batch), reference(batch), rtol=1e-3, atol=1e-4)


def test_followed_norms_take_back_how_much_their_inputs_spread():
    """Where the statistics are those of the data, so that the mean is where it should be."""
    model, data = two_norms(), STRANGE[:1]
    with torch.no_grad():
        inputs = model[0](data[0])
        model[1].running_mean.copy_(inputs.mean((0, 2, 3)))
    reference = copy.deepcopy(model)
    with torch.no_grad():
        model[0].weight *= 3
        model[0].bias *= 3
    follow_batch_norm_(model, reference, data)
    # The norm adds 1e-5 to all variances.
    torch.testing.assert_close(model(data[0]), reference(data[0]), rtol=1e-3, atol=1e-3)


def test_norms_that_cannot_be_followed_are_left_or_refused():
    model, other = two_norms(), two_norms()
    other[4] = nn.Identity()
    before = norms_of(model)[1]
    follow_batch_norm_(model, other, STRANGE)
    assert all(torch.equal(*pair) for pair in zip(norms_of(model)[1], before, strict=True))
    with pytest.raises(InputError, match="batches is empty"):
        follow_batch_norm_(model, two_norms(), [])
    twice = two_norms()
    twice.append(twice[4])
    before = norms_of(model)
    for one, another, words in ((twice, two_norms(), "more often"), (two_norms(), twice, "less often")):
        with pytest.raises(InputError, match=f"batch norm 4 runs {words} than in the network that this"):
            follow_batch_norm_(one, another, STRANGE)


def test_a_network_is_quantised_on_data_unlike_those_that_it_was_trained_on():
    reference = two_norms()
    plan = rf.uniform_plan(rf.trace(reference, (2, 7, 7)), rf.ArraySpec(32, 32), bits=8)
    wanted, errors = reference(STRANGE[0]).detach(), []
    for known in (None, reference):
        model = copy.deepcopy(reference)
        rf.quantise_(model, plan, STRANGE, reference=known)
        errors.append((model(STRANGE[0]) - wanted).norm().item() / wanted.norm().item())
    assert errors[1] < 0.05 < 0.5 < errors[0]
