"""Losses of candidates are those of the weights that `compress_` makes."""

from dataclasses import replace

import numpy as np
import pytest

from common.planned_layers import choices, problem
from rankfold.calibration.sensitivity import predicted_loss
from rankfold.lowrank import decompose_for_data, reconstruct, refit
from rankfold.lowrank.grouped import refit_grouped
from rankfold.mapping import ArraySpec
from rankfold.mapping.window_matrix import window_shape, window_weight
from rankfold.plan import (
    GroupedLayer,
    LowRankLayer,
    SupportLayer,
    WindowLayer,
    text_to_support,
)
from rankfold.plan.members import text_to_members
from rankfold.planning import layer_work
from rankfold.planning.kinds import low_rank
from rankfold.progress import Silent
from rankfold.surgery.kinds.window import PART

WIDE = ArraySpec(16, 32)  # room for windows of several pixels


@pytest.fixture(scope="module")
def small():
    """So small that all candidates can be made one by one."""
    return problem(4, WIDE)


@pytest.fixture(scope="module")
def known():
    return problem(8, kinds={"low-rank", "support"})


class Layers(Silent):
    """Counts the layers that are ready."""

    def __init__(self):
        self.ready = 0

    def advance(self, count=1, detail=""):
        self.ready += count


def made_for_data(kind, weight, second, shape):
    """The weight that `compress_` would make."""
    if isinstance(kind, GroupedLayer):
        grouping = text_to_members(kind.members, shape, kind.blocks)
        return refit_grouped(weight, shape.groups, grouping, second)
    support = None
    if kind.known_support is not None:
        support = text_to_support(kind.known_support, shape)
    if isinstance(kind, LowRankLayer):
        factors = decompose_for_data(weight, shape.groups, kind.groups, kind.rank, second, support=support)
        return reconstruct(factors, shape.groups, kind.groups)
    return refit(weight, shape.groups, second, support)


def loss_of_window(entry, model, sensitivities, shapes):
    """That of the matrix in the window layer that surgery makes, from the one that holds shifted copies."""
    kind, conv = entry.kind, model.get_submodule(entry.name)
    if kind.window == (1, 1):
        known = sensitivities.layers[entry.name]
    else:
        known = sensitivities.windows[entry.name][kind.window]
    made = PART.replace(entry, conv, known.moments.centred(), None).module
    weight = conv.weight.detach().double().numpy()
    before = window_weight(weight, conv.groups, conv.stride, conv.dilation, kind.window)
    after = made.weight.detach().numpy()
    if kind.rows is not None:
        kept = text_to_support(kind.support, window_shape(shapes[entry.name], kind.window))
        assert kept.sum() == kind.rows * conv.groups
        driven = np.any(after.reshape(conv.groups, -1, kept.size // conv.groups) != 0, axis=1)
        assert not (driven & ~kept.reshape(conv.groups, -1)).any()
    return predicted_loss(before, after.astype(float), known)


def test_losses_are_those_of_the_weights_that_compress_makes(small, monkeypatch):
    """Of all candidates, also those that others are better than."""
    for filtering in ("without_hopeless", "cheaper_than_lossless", "pareto"):
        monkeypatch.setattr(layer_work, filtering, lambda candidates, budgeted: tuple(candidates))
    slots, model, sensitivities, _ = small
    sensitive = sensitivities.layers
    shapes = {slot.name: slot.shape for slot in slots}
    layers, seen, windows = Layers(), set(), set()
    for slot, layer in zip(slots, choices(small, layers), strict=True):
        assert layer.name == slot.name
        for candidate in layer.candidates:
            kind = candidate.entry.kind
            if not kind.changes_weight:
                assert candidate.loss == 0
                continue
            if isinstance(kind, WindowLayer):
                wanted = loss_of_window(candidate.entry, model, sensitivities, shapes)
                assert candidate.loss == pytest.approx(wanted, rel=1e-6, abs=1e-12), candidate.entry
                windows.add(kind.rows is None)
                continue
            weight = model.get_submodule(slot.name).weight.detach().double().numpy()
            made = made_for_data(kind, weight, sensitive[slot.name].moments.second, slot.shape)
            wanted = predicted_loss(weight, made.reshape(weight.shape), sensitive[slot.name])
            assert candidate.loss == pytest.approx(wanted, rel=2e-3), candidate.entry
            seen.add((type(kind), getattr(kind, "groups", 1) > 1, kind.known_support is not None))
    assert layers.ready == len(slots)
    assert windows == {False, True}
    pairs = {(LowRankLayer, several, sparse) for several in (False, True) for sparse in (False, True)}
    assert seen == pairs | {(SupportLayer, False, True), (GroupedLayer, False, True)}


def test_wide_layers_are_judged_a_little_too_hard(known, monkeypatch):
    """After three sweeps pairs of several blocks have not settled: they lose more, not by much."""
    slots, *others = known
    of_pairs = ([replace(slot, kinds=frozenset({"low-rank"})) for slot in slots], *others)
    settled = choices(of_pairs)
    monkeypatch.setattr(low_rank, "WIDE", 0)
    ratios = []
    for before, after in zip(settled, choices(of_pairs), strict=True):
        losses_before = {one.entry.kind: one.loss for one in before.candidates}
        for one in after.candidates:
            kind = one.entry.kind
            if losses_before.get(kind) and isinstance(kind, LowRankLayer) and kind.groups > 1:
                ratios.append(one.loss / losses_before[kind])
    assert ratios and 1.0 < np.mean(ratios) < 1.2
