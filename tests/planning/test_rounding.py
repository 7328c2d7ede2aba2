"""What rounding is predicted to lose: of the very levels that `quantise_` makes, whatever a layer becomes."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from common.made_up import entries_of
from common.planned_layers import problem
from rankfold.calibration.input_rounding import InputRounding
from rankfold.calibration.sensitivity import predicted_loss
from rankfold.mapping import ArraySpec
from rankfold.mapping.window_cover import PlanePart
from rankfold.mapping.window_matrix import window_weight
from rankfold.nn.quantised import LayerBits, QuantConv2d
from rankfold.nn.quantisers import Quantiser
from rankfold.plan import (
    DenseLayer,
    GroupedLayer,
    LayerPlan,
    LowRankLayer,
    SupportLayer,
    WindowLayer,
    WindowLowRankLayer,
    WindowMarginsLayer,
)
from rankfold.planning.exact.widths import BitChoices
from rankfold.planning.kinds import LayerStudy, candidates_of, layer_entries
from rankfold.planning.kinds.stored import StoredWeight
from rankfold.planning.rounding import LayerRounding, RoundingLosses, rounded, rounding_power
from rankfold.planning.statistics import layer_statistics
from rankfold.surgery.kinds import surgery_of

BITS = 3


@pytest.fixture(scope="module")
def studies():
    """The layers of small networks that may become anything, with what is known of them."""
    known = []
    for slots, model, found, _ in (
        problem(8, side=7, layers=("2", "4", "8")),
        problem(4, ArraySpec(16, 24), side=7, kinds=frozenset({"window-margins"}), layers=("2", "4")),
    ):
        for slot in slots:
            if slot.name not in found.layers:
                continue
            conv, sensitivity = model.get_submodule(slot.name), found.layers[slot.name]
            weight = conv.weight.detach().double().numpy()
            windows = {(1, 1): sensitivity, **found.windows[slot.name]}
            study = LayerStudy(slot, weight, sensitivity.moments.second, None, windows)
            known.append((slot, conv, study, sensitivity, windows))
    return known


def few(entries):
    """The first and the last of each kind, on all positions and on some, each once."""
    found = {}
    for entry in entries:
        key = type(entry.kind), getattr(entry.kind, "window", None), entry.kind.known_support is not None
        first, _ = found.setdefault(key, (entry, entry))
        found[key] = first, entry
    return dict.fromkeys(entry for pair in found.values() for entry in pair)


def stored_and_made(studies):
    """What is rounded of each layer as several things, and the parts of the module that surgery makes."""
    for slot, conv, study, sensitivity, windows in studies:
        for entry in few(layer_entries(slot, study.families)):
            part, surgery = candidates_of(entry.kind), surgery_of(entry.kind)
            kind = part.settled(entry.kind, study)
            moments = sensitivity.moments
            if isinstance(kind, (WindowLayer, WindowLowRankLayer)):
                moments = windows[kind.window].weighed_moments.centred()
            if isinstance(kind, WindowMarginsLayer):
                first, *others = [windows[place].weighed_moments.centred() for place in kind.places]
                moments = replace(first, others=tuple(others))
            named = LayerPlan("layer", kind)
            module = copy.deepcopy(conv)
            if kind.changes_weight:
                module = surgery.replace(named, module, moments, None).module
            whole = nn.ModuleDict({"layer": module})
            parts = [whole.get_submodule(one.name) for one in surgery.parts(named)]
            if isinstance(kind, GroupedLayer):
                parts = [module.to_dense()]  # zeros between its blocks are levels, too
            stored = part.stored(kind, study, sensitivity)
            for number, one in enumerate(stored):
                own = parts if len(stored) == 1 else [parts[number]]
                yield kind, one, own


def test_weights_are_rounded_as_those_of_surgery(studies):
    seen = set()
    for kind, stored, parts in stored_and_made(studies):
        seen.add(type(kind))
        assert stored.weight.shape == stored.reference.shape
        if len(parts) == 1:
            made = QuantConv2d.from_float(parts[0], LayerBits(BITS, 8, True)).to_dense().weight
            wanted = made.detach().double().numpy()
            (levels,) = [rounded(matrix, BITS) for matrix in stored.matrices]
            # A weight between two levels may fall to either side.
            assert np.mean(np.abs(levels - wanted) > 1e-6) < 0.01, kind
            continue
        # Of factors the signs are free, and so are the levels of the lowest sign; their scales are not.
        rows, outputs = stored.matrices
        reduce, expand = (part.weight.detach().numpy() for part in parts)
        assert np.abs(rows).reshape(reduce.shape) == pytest.approx(np.abs(reduce), abs=2e-3), kind
        by_output = np.abs(outputs).swapaxes(1, 2).reshape(expand.shape)
        assert by_output == pytest.approx(np.abs(expand), abs=2e-3), kind
    assert seen == {
        DenseLayer,
        GroupedLayer,
        LowRankLayer,
        SupportLayer,
        WindowLayer,
        WindowLowRankLayer,
        WindowMarginsLayer,
    }


def test_inputs_count_as_the_weight_passes_them_on(studies):
    """The dense weight at its own loss; twice the weight at four times, and none of dropped channels."""
    slot, _, study, sensitivity, _ = studies[0]
    part = candidates_of(DenseLayer())
    (stored,) = part.stored(DenseLayer(), study, sensitivity)
    power = np.linspace(1, 2, slot.shape.in_channels)
    known = LayerRounding(sensitivity, InputRounding({8: 0.5}, {8: power}), corrected=False)

    def of_inputs(weight):
        losses = RoundingLosses([replace(stored, matrix=weight)], known)
        return losses.of(8, 8) - predicted_loss(weight, rounded(weight, 8), sensitivity)

    assert of_inputs(study.weight) == pytest.approx(0.5)
    assert of_inputs(2 * study.weight) == pytest.approx(2.0)
    shares = []
    for channel in range(slot.shape.in_channels):
        one = np.zeros_like(study.weight)
        one[:, channel] = study.weight[:, channel]
        shares.append(of_inputs(one))
    assert sum(shares) == pytest.approx(0.5) and min(shares) > 0


def test_values_between_stages_are_rounded_as_samples_of_them_are():
    draw = np.random.default_rng(0)
    means, variances = np.array([0.0, 1.0, -0.3]), np.array([1.0, 0.04, 0.0])
    values = means + np.sqrt(variances) * draw.normal(size=(100_000, 3))
    for bits in (2, 4):
        quantiser = Quantiser(bits, signed=True)
        quantiser.fit_(torch.from_numpy(values))
        errors = quantiser(torch.from_numpy(values)).detach().numpy() - values
        found = rounding_power(means, variances, bits, without_mean=False)
        assert found == pytest.approx(np.square(errors).mean(axis=0), rel=0.2, abs=1e-3)
        without = rounding_power(means, variances, bits, without_mean=True)
        assert without == pytest.approx(errors.var(axis=0), rel=0.2, abs=1e-3)


def test_mean_and_variance_between_stages(studies):
    """Of a pair in a layer of two groups: those of R x over all patches."""
    for slot, conv, study, sensitivity, _ in studies:
        if slot.kinds is not None:
            continue  # no pairs
        entries = [one for one in entries_of(slot) if type(one.kind) is LowRankLayer and one.kind.groups > 1]
        kind = next(one.kind for one in entries if one.kind.entries is None)
        (pair,) = candidates_of(kind).stored(kind, study, sensitivity)
        means, variances = pair.between()
        groups, blocks, rank, width = pair.rows.shape
        whole = np.zeros((groups, blocks * rank, blocks * width))
        for block in range(blocks):
            whole[:, block * rank :][:, :rank, block * width :][..., :width] = pair.rows[:, block]
        moments = sensitivity.moments
        second = np.einsum("gri,gij,grj->gr", whole, moments.second, whole)
        mean = np.einsum("gri,gi->gr", whole, moments.mean)
        assert means == pytest.approx(mean.ravel())
        assert variances == pytest.approx((second - mean**2).ravel(), rel=1e-6)
        assert conv.groups == groups


def test_weights_are_rounded_for_the_cells_that_shall_hold_them():
    """Three bits do not fit 2-bit cells in full: what the levels that do fit lose is what is predicted."""
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()
    batches = [torch.randn(64, 4, 6, 6)]
    array = ArraySpec(64, 64, cell_bits=2)
    widths = {"0": BitChoices((2, 3, 4), (8,))}
    known = layer_statistics(model, batches, ["0"], 0, widths=widths, array=array).rounding["0"]
    assert known.narrow_bits == {3}
    weight = conv.weight.detach().double().numpy()
    losses = RoundingLosses([StoredWeight(weight, known.sensitivity, weight)], known)
    of_inputs = known.inputs.losses[8]
    for bits in widths["0"].weights:
        quantiser = Quantiser(bits, signed=True, narrow=bits == 3)
        quantiser.fit_(conv.weight.detach())
        made = quantiser(conv.weight).detach().double().numpy()
        assert made.min() > -3.5 * quantiser.scale.item() or bits != 3
        wanted = predicted_loss(weight, made, known.sensitivity) + of_inputs
        assert losses.of(bits, 8) == pytest.approx(wanted, rel=1e-3)


SHAPE_OF_WINDOWS = ((1, 2), (2, 2))
PARTS = (PlanePart((0, 0), (4, 6), (2, 2)), PlanePart((4, 0), (2, 6), (1, 3)))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.Identity()])
def test_rounding_a_layer_costs_as_much_by_any_window(norm):
    """Of positive inputs, whose means count but where batch norm takes them back."""
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(conv, norm, nn.ReLU(), nn.AvgPool2d(3), nn.Flatten(), nn.Linear(16, 5)).eval()
    batches = [torch.rand(64, 4, 6, 6) + 1]
    windows = {"0": (*SHAPE_OF_WINDOWS, *PARTS)}
    known = layer_statistics(model, batches, ["0"], 0, windows=windows, widths={"0": BitChoices((3,), (8,))})
    rounding = known.rounding["0"]
    assert rounding.corrected == isinstance(norm, nn.BatchNorm2d)
    weight = conv.weight.detach().double().numpy()
    changed = rounded(weight, BITS)
    wanted = predicted_loss(weight, changed, rounding.sensitivity)
    for covered in (*([window] for window in SHAPE_OF_WINDOWS), PARTS):
        lost = without_means = 0.0
        for window in covered:
            pixels = window.window if isinstance(window, PlanePart) else window
            of_window, made = (window_weight(one, 1, (1, 1), (1, 1), pixels) for one in (weight, changed))
            lost += predicted_loss(of_window, made, rounding.windows[window])
            without_means += predicted_loss(of_window, made, known.windows["0"][window])
        # The curvature is diagonal in another basis for each.
        assert lost == pytest.approx(wanted, rel=0.6), covered
        assert without_means == lost if rounding.corrected else 2 * without_means < lost
