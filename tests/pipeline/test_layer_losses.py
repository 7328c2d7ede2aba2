"""Losses of candidates: those of the weights that `compress` would make; and an interrupt is not kept waiting."""

import numpy as np
import pytest
import torch
from torch import nn

from rankfold.calibration.sensitivity import predicted_loss, sensitivities
from rankfold.cost.energy import find_table
from rankfold.lowrank import decompose_for_data, fitted_supports, reconstruct, refit
from rankfold.mapping import ArraySpec
from rankfold.plan import DENSE, LOW_RANK, PRUNED, text_to_support
from rankfold.planning.exact import CYCLES
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.entries import dense_network, layer_slots
from rankfold.runs import layer_losses
from rankfold.workload import trace

ARRAY = ArraySpec(16, 16)


def network():
    """3x3 layers of one and of two convolution groups, and one with more outputs than inputs."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, groups=2, stride=2), nn.ReLU(), nn.Conv2d(64, 32, (1, 3)), nn.ReLU(),
        nn.Conv2d(32, 128, (1, 2)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10),
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def known():
    model = network()
    traced = trace(model, (1, 8, 8))
    slots = layer_slots(traced, 4)
    names = [slot.entry.name for slot in slots if not slot.why_dense]
    costing = Costing.of(traced, dense_network(traced, ARRAY, slots), find_table(None, ARRAY, None, None))
    images = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return slots, model, sensitivities(model, [images], names), costing


def choices(known, done=lambda name: None, threads=2):
    slots, model, found, costing = known
    moments = {name: one.moments for name, one in found.items()}
    return layer_losses.layer_choices(slots, model, found, moments, costing, [CYCLES], done, threads)


def test_losses_are_those_of_the_weights_that_compress_makes(known, monkeypatch):
    """Of all candidates, also those that others are better than."""
    monkeypatch.setattr(layer_losses, "without_hopeless", lambda candidates, budgeted: tuple(candidates))
    monkeypatch.setattr(layer_losses, "pareto", lambda candidates, budgeted: tuple(candidates))
    slots, model, found, _ = known
    heard, kinds = [], set()
    for slot, layer in zip(slots, choices(known, heard.append), strict=True):
        for candidate in layer.candidates:
            entry = candidate.entry
            if entry.kind == DENSE:
                assert candidate.loss == 0
                continue
            weight = model.get_submodule(entry.name).weight.detach().double().numpy()
            second, conv_groups = found[entry.name].moments.second, slot.shape.groups
            support = None if entry.support is None else text_to_support(entry.support, slot.shape)
            if entry.kind == LOW_RANK:
                factors = decompose_for_data(weight, conv_groups, entry.groups, entry.rank, second, support=support)
                made = reconstruct(factors, conv_groups, entry.groups)
            else:
                made = refit(weight, conv_groups, second, support)
            wanted = predicted_loss(weight, made.reshape(weight.shape), found[entry.name])
            assert candidate.loss == pytest.approx(wanted, rel=2e-3), entry
            kinds.add((entry.kind, (entry.groups or 1) > 1, support is not None))
    assert sorted(heard) == sorted(slot.entry.name for slot in slots)
    pairs = {(LOW_RANK, several, sparse) for several in (False, True) for sparse in (False, True)}
    assert kinds == pairs | {(PRUNED, False, True)}


def test_wide_layers_are_judged_a_little_too_hard(known, monkeypatch):
    """After three sweeps pairs of several blocks have not settled: they lose more, not by much."""
    settled = choices(known)
    monkeypatch.setattr(layer_losses, "WIDE", 0)
    ratios = []
    for before, after in zip(settled, choices(known), strict=True):
        losses = {(one.entry.kind, one.entry.groups, one.entry.rank, one.entry.support): one.loss for one in before.candidates}
        for one in after.candidates:
            key = one.entry.kind, one.entry.groups, one.entry.rank, one.entry.support
            if losses.get(key) and one.entry.kind == LOW_RANK and one.entry.groups > 1:
                ratios.append(one.loss / losses[key])
    assert ratios and 1.0 < np.mean(ratios) < 1.2


def test_an_interrupt_waits_for_no_layer(known, monkeypatch):
    stopped, late = [], []

    def interrupt(name):
        stopped.append(name)
        raise KeyboardInterrupt

    def watched(work):
        def watch(*arguments):
            if stopped:
                late.append(work)
            return work(*arguments)

        return watch

    for work in (predicted_loss, fitted_supports):
        monkeypatch.setattr(layer_losses, work.__name__, watched(work))
    with pytest.raises(KeyboardInterrupt):
        choices(known, interrupt, threads=1)
    # The one layer that had begun may have been about to take its next step; no other begins.
    assert len(stopped) == 1 and len(late) <= 1
