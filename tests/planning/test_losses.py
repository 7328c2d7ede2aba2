"""Losses of candidates: those of the weights that `compress_` makes; and an interrupt is not kept waiting."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from common.planned_layers import problem
from rankfold.calibration import sensitivity
from rankfold.calibration.network_sensitivities import network_sensitivities
from rankfold.calibration.sensitivity import predicted_loss
from rankfold.lowrank import decompose_for_data, fitted_supports, reconstruct, refit
from rankfold.lowrank.grouped import refit_grouped
from rankfold.mapping import ArraySpec
from rankfold.mapping.window_cover import PlanePart
from rankfold.mapping.window_low_rank import window_low_rank_cycles
from rankfold.mapping.window_matrix import filling_window, window_cycles, window_shape, window_weight
from rankfold.plan import (
    GroupedLayer,
    LowRankLayer,
    SupportLayer,
    WindowLayer,
    WindowLowRankLayer,
    WindowMarginsLayer,
    text_to_support,
)
from rankfold.plan.members import text_to_members
from rankfold.planning import layer_runners, layer_work
from rankfold.planning.choices import layer_choices
from rankfold.planning.exact import CYCLES
from rankfold.planning.exact.slots import layer_slots
from rankfold.planning.kinds import candidates_of, low_rank, study
from rankfold.planning.statistics import LayerStatistics
from rankfold.progress import Silent
from rankfold.surgery.kinds.window import PART
from rankfold.surgery.kinds.window_low_rank import PART as PAIR
from rankfold.surgery.kinds.window_margins import PART as MARGINS
from rankfold.workload import trace

WIDE = ArraySpec(16, 32)  # room for windows of several pixels
SMALL = ArraySpec(8, 8)


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


def choices(known, progress=None, threads=2):
    slots, model, sensitive, costing = known
    statistics = LayerStatistics(sensitivities=sensitive.layers, windows=sensitive.windows)
    return layer_choices(
        slots, model, statistics, costing, [CYCLES], progress=progress or Silent(), threads=threads
    )


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


def test_pairs_of_windows_lose_what_those_of_surgery_do():
    """2x2 windows, of which some reach over the edge of a plane of 7x7, strided and in groups; one pixel."""
    slots, model, found, _ = problem(4, SMALL, side=7, kinds={"window-low-rank"})
    part, seen = candidates_of(WindowLowRankLayer), set()
    for slot in slots:
        if slot.why_dense:
            continue
        conv, sensitivity = model.get_submodule(slot.name), found.layers[slot.name]
        weight = conv.weight.detach().double().numpy()
        windows = {(1, 1): sensitivity, **found.windows[slot.name]}
        layer = study.LayerStudy(slot, weight, sensitivity.moments.second, None, windows)
        for entry in part.entries(slot, None):
            kind = part.settled(entry.kind, layer)
            known = windows[kind.window]
            loss = part.loss(kind, layer, sensitivity)
            # Surgery makes the same of the plan, and chooses the same inputs where it names none.
            for one in (kind, entry.kind):
                named = replace(entry, kind=one)
                module = PAIR.replace(named, conv, known.weighed_moments.centred(), None).module
                made = module.weight.detach().numpy().astype(float)
                copies = window_weight(weight, conv.groups, conv.stride, conv.dilation, kind.window)
                assert predicted_loss(copies, made, known) == pytest.approx(loss, rel=1e-4, abs=1e-12)
            pair = window_low_rank_cycles(slot.shape, kind.window, kind.rank, SMALL, kind.rows)
            assert pair < window_cycles(slot.shape, kind.window, SMALL, kind.rows)
            seen.add((kind.window, conv.groups, kind.rows is None, bool(known.moments.by_pixel)))
    assert {(window, groups) for window, groups, _, _ in seen} == {((1, 1), 1), ((2, 2), 1), ((2, 2), 2)}
    assert {whole for _, _, whole, _ in seen} == {over for _, _, _, over in seen} == {False, True}


def test_pairs_of_windows_are_asked_for_where_they_take_fewer_tiles():
    """k + c < k c for k row and c column tiles of the window's matrix, with the highest rank of one tile."""
    part, entries = candidates_of(WindowLowRankLayer), {}
    network = trace(nn.Sequential(nn.Conv2d(4, 16, 3, padding=1), nn.Conv2d(16, 40, 3)), (4, 8, 8))
    (slot,) = [slot for slot in layer_slots(network, ArraySpec(32, 16), 4) if not slot.why_dense]
    for entry in part.entries(slot, None):
        assert entry.kind.rank == 16
        entries.setdefault(entry.kind.window, []).append(entry.kind.rows)
    # One pixel: n = 144, 5 row and 3 column tiles. 2x2: n = 256, 8 row and 10 column tiles.
    assert entries == {
        (1, 1): [64, 96, 128, None],
        (2, 2): [64, 96, 128, 160, 192, 224, None],
    }
    for narrow in (ArraySpec(32, 64), ArraySpec(256, 16)):  # no second column tile; no second row tile
        (slot,) = [slot for slot in layer_slots(network, narrow, 4) if not slot.why_dense]
        assert not list(part.entries(slot, None))


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


def test_an_interrupt_waits_for_no_layer(known, monkeypatch):
    stopped, late = [], []

    class Interrupts(Silent):
        def advance(self, count=1, detail=""):
            stopped.append(count)
            raise KeyboardInterrupt

    def watched(work):
        def watch(*arguments, **options):
            if stopped:
                late.append(work)
            return work(*arguments, **options)

        return watch

    monkeypatch.setattr(sensitivity, "predicted_loss", watched(predicted_loss))
    monkeypatch.setattr(study, "fitted_supports", watched(fitted_supports))
    with pytest.raises(KeyboardInterrupt):
        choices(known, Interrupts(), threads=1)
    # The one layer that had begun may have been about to take its next step; no other begins.
    assert len(stopped) == 1 and len(late) <= 1


def test_of_wide_layers_one_waits_for_the_other_while_narrow_ones_go_on(monkeypatch):
    def slot(name, inputs):
        shape = SimpleNamespace(n=inputs, groups=1)
        return SimpleNamespace(name=name, shape=shape, why_dense="", widths=None)

    order = [slot("first", 100), slot("second", 90), slot("third", 10), slot("fourth", 9)]
    monkeypatch.setattr(layer_runners, "MEMORY", 8 * 8 * (100**2 + 10**2))
    running, together, narrow_began = set(), [], Event()

    def found(one):
        running.add(one.name)
        together.append(frozenset(running))
        if one.name == "third":
            narrow_began.set()
        # The first one ends only after a narrow one was begun beside it.
        assert one.name != "first" or narrow_began.wait(10)
        running.remove(one.name)
        return one

    with ThreadPoolExecutor(2) as pool:
        ready = list(layer_runners.in_threads(pool, found, order, 2))
    assert sorted(one.name for one in ready) == sorted(one.name for one in order)
    assert {"first", "third"} in together
    assert not any({"first", "second"} <= names for names in together)


def test_planes_in_parts_lose_what_those_of_surgery_do():
    """Planes of 7x7, strided and in groups among them, on arrays whose windows do not divide them."""
    slots, model, found, costing = problem(4, ArraySpec(16, 24), side=7, kinds={"window-margins"})
    part, seen = candidates_of(WindowMarginsLayer), set()
    for slot in slots:
        if slot.why_dense:
            continue
        conv, sensitivity = model.get_submodule(slot.name), found.layers[slot.name]
        weight = conv.weight.detach().double().numpy()
        windows = {(1, 1): sensitivity, **found.windows[slot.name]}
        layer = study.LayerStudy(slot, weight, sensitivity.moments.second, None, windows)
        entries = list(part.entries(slot, None))
        for entry in (*entries[::24], *entries[-1:]):
            entry.kind.check(slot.shape)
            kind = part.settled(entry.kind, layer)
            known = [windows[place] for place in part.made_for(kind)]
            moments = [one.weighed_moments.centred() for one in known]
            together = replace(moments[0], others=tuple(moments[1:]))
            # Surgery makes the same of the plan, and chooses the same inputs where it names none.
            for one in (kind, entry.kind):
                module = MARGINS.replace(replace(entry, kind=one), conv, together, None).module
                lost = 0.0
                for own, sensitive in zip(module.each, known, strict=True):
                    copies = window_weight(weight, conv.groups, conv.stride, conv.dilation, own.window)
                    lost += predicted_loss(copies, own.weight.detach().numpy().astype(float), sensitive)
                assert part.loss(kind, layer, sensitivity) == pytest.approx(lost, rel=1e-5, abs=1e-12)
            # No windows that overhang the plane cost as little.
            rows = max((own.rows or 0 for own in kind.parts), default=0) or None
            cycles = costing.candidate(replace(entry, kind=kind)).cycles
            fewest = filling_window([slot.shape], slot.array, 99 if rows is None else rows // 16)
            assert cycles < window_cycles(slot.shape, fewest, slot.array, rows)
            seen.add((conv.groups > 1, rows is None))
    assert seen >= {(False, False), (True, False), (False, True)}


def test_a_part_that_is_the_plane_is_as_sensitive_as_its_windows():
    conv = nn.Conv2d(2, 3, 3, padding=1)
    torch.manual_seed(0)
    model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(3 * 25, 4)).eval()
    images = torch.randn(16, 2, 5, 5)
    part = PlanePart((0, 0), (5, 5), (2, 3))
    found = network_sensitivities(model, [images], ["0"], {"0": [(2, 3), part]}).windows["0"]
    whole, own = found[2, 3], found[part]
    np.testing.assert_allclose(own.moments.second, whole.moments.second, rtol=1e-6)
    np.testing.assert_allclose(own.gradient, whole.gradient, rtol=1e-6)
    np.testing.assert_allclose(own.power, whole.power, rtol=1e-4, atol=1e-9)
    assert own.positions == whole.positions == 6
