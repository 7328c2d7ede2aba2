"""Losses of candidates: those of the weights that `compress_` makes; and an interrupt is not kept waiting."""

import numpy as np
import pytest
import torch
from torch import nn

from rankfold.calibration import sensitivity
from rankfold.calibration.sensitivity import predicted_loss, sensitivities
from rankfold.cost.energy import find_table
from rankfold.lowrank import decompose_for_data, fitted_supports, reconstruct, refit
from rankfold.mapping import ArraySpec
from rankfold.plan import LowRankLayer, SupportLayer, text_to_support
from rankfold.planning import losses
from rankfold.planning.exact import CYCLES
from rankfold.planning.exact.costing import Costing
from rankfold.planning.exact.slots import dense_network, layer_slots
from rankfold.planning.kinds import low_rank, study
from rankfold.planning.statistics import LayerStatistics
from rankfold.progress import Silent
from rankfold.workload import trace

ARRAY = ArraySpec(16, 16)


def network(width):
    """3x3 layers of one and of two convolution groups, and one with more outputs than inputs."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(2 * width, 4 * width, 3, padding=1, groups=2, stride=2),
        nn.ReLU(),
        nn.Conv2d(4 * width, 2 * width, (1, 3)),
        nn.ReLU(),
        nn.Conv2d(2 * width, 8 * width, (1, 2)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8 * width, 10),
    ).eval()


def problem(width):
    """What the losses of candidates are computed from."""
    model = network(width)
    traced = trace(model, (1, 8, 8))
    slots = layer_slots(traced, 4)
    names = [slot.name for slot in slots if not slot.why_dense]
    costing = Costing.of(traced, dense_network(traced, ARRAY, slots), find_table(None, ARRAY, None, None))
    images = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return slots, model, sensitivities(model, [images], names), costing


@pytest.fixture(scope="module")
def small():
    """So small that all candidates can be made one by one."""
    return problem(8)


@pytest.fixture(scope="module")
def known():
    return problem(16)


class Layers(Silent):
    """Counts the layers that are ready."""

    def __init__(self):
        self.ready = 0

    def advance(self, count=1, detail=""):
        self.ready += count


def choices(known, progress=None, threads=2):
    slots, model, sensitive, costing = known
    moments = {name: one.moments for name, one in sensitive.items()}
    statistics = LayerStatistics(sensitive, moments)
    return losses.layer_choices(
        slots, model, statistics, costing, [CYCLES], progress=progress or Silent(), threads=threads
    )


def made_for_data(kind, weight, second, shape):
    """The weight that `compress_` would make."""
    support = None
    if kind.known_support is not None:
        support = text_to_support(kind.known_support, shape)
    if isinstance(kind, LowRankLayer):
        factors = decompose_for_data(weight, shape.groups, kind.groups, kind.rank, second, support=support)
        return reconstruct(factors, shape.groups, kind.groups)
    return refit(weight, shape.groups, second, support)


def test_losses_are_those_of_the_weights_that_compress_makes(small, monkeypatch):
    """Of all candidates, also those that others are better than."""
    monkeypatch.setattr(losses, "without_hopeless", lambda candidates, budgeted: tuple(candidates))
    monkeypatch.setattr(losses, "pareto", lambda candidates, budgeted: tuple(candidates))
    slots, model, sensitive, _ = small
    layers, seen = Layers(), set()
    for slot, layer in zip(slots, choices(small, layers), strict=True):
        assert layer.name == slot.name
        for candidate in layer.candidates:
            kind = candidate.entry.kind
            if not kind.changes_weight:
                assert candidate.loss == 0
                continue
            weight = model.get_submodule(slot.name).weight.detach().double().numpy()
            made = made_for_data(kind, weight, sensitive[slot.name].moments.second, slot.shape)
            wanted = predicted_loss(weight, made.reshape(weight.shape), sensitive[slot.name])
            assert candidate.loss == pytest.approx(wanted, rel=2e-3), candidate.entry
            seen.add((type(kind), getattr(kind, "groups", 1) > 1, kind.known_support is not None))
    assert layers.ready == len(slots)
    pairs = {(LowRankLayer, several, sparse) for several in (False, True) for sparse in (False, True)}
    assert seen == pairs | {(SupportLayer, False, True)}


def test_wide_layers_are_judged_a_little_too_hard(known, monkeypatch):
    """After three sweeps pairs of several blocks have not settled: they lose more, not by much."""
    settled = choices(known)
    monkeypatch.setattr(low_rank, "WIDE", 0)
    ratios = []
    for before, after in zip(settled, choices(known), strict=True):
        losses_before = {one.entry.kind: one.loss for one in before.candidates}
        for one in after.candidates:
            kind = one.entry.kind
            if losses_before.get(kind) and isinstance(kind, LowRankLayer) and kind.groups > 1:
                ratios.append(one.loss / losses_before[kind])
    assert ratios and 1.0 < np.mean(ratios) < 1.2


def test_an_interrupt_waits_for_no_layer(known, monkeypatch):
    stopped, late = [], []

    class Interrupts(Silent):
        def advance(self, count=1, detail=""):
            stopped.append(count)
            raise KeyboardInterrupt

    def watched(work):
        def watch(*arguments):
            if stopped:
                late.append(work)
            return work(*arguments)

        return watch

    monkeypatch.setattr(sensitivity, "predicted_loss", watched(predicted_loss))
    monkeypatch.setattr(study, "fitted_supports", watched(fitted_supports))
    with pytest.raises(KeyboardInterrupt):
        choices(known, Interrupts(), threads=1)
    # The one layer that had begun may have been about to take its next step; no other begins.
    assert len(stopped) == 1 and len(late) <= 1
