"""Networks that follow a plan, planned again: what stays stays to the last bit, what goes on is refitted."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from common.window_network import ARRAY, IMAGE, batches, network, settled
from rankfold.calibration.observation import evaluating, observing
from rankfold.calibration.patches import patches
from rankfold.errors import InputError
from rankfold.nn.window import WindowConv2d
from rankfold.plan import LayerPlan, LowRankLayer, Plan, SkippedLayer, SupportLayer, WindowLayer
from rankfold.planning import planning_problem
from rankfold.planning.annealing.choice import step_solution
from rankfold.planning.exact import CYCLES, Budget, total
from rankfold.planning.present import seen_as_convolutions
from rankfold.surgery.again import compress_again_
from rankfold.surgery.compress import compress_
from rankfold.surgery.kinds.window import WindowSurgery
from rankfold.surgery.quantise import quantise_
from rankfold.workload import trace

WINDOW, ROWS = (2, 3), 72  # of 120 inputs
DENSE = trace(settled(network()), IMAGE, "net")


def planned(second, third, bits=4):
    kinds = {"3": second, "6": third}
    layers = []
    for shape in DENSE.layers:
        entry = LayerPlan(shape.name, weight_bits=bits, input_bits=bits)
        if shape.name in kinds:
            entry = replace(entry, kind=kinds[shape.name], mapping="")
        layers.append(entry)
    return Plan.of(DENSE, ARRAY, layers)


def trained(plan):
    """A network that follows a plan, with weights that no dense network has; and the plan filled in."""
    model = settled(network())
    compress_(model, plan, batches())
    plan = quantise_(model, plan, batches())
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            # What a mask drops stays zero.
            parameter.mul_(1 + 0.2 * torch.randn_like(parameter))
    return model.eval(), plan


@pytest.fixture(scope="module")
def window_and_support():
    return trained(planned(WindowLayer(WINDOW, ROWS), SupportLayer(2)))


@pytest.fixture(scope="module")
def problem(window_and_support):
    model, plan = window_and_support
    return again(model, plan)


def again(model, plan, **options):
    budget = Budget.parse("cycles", "100%")
    return planning_problem(model, batches(), ARRAY, budget, network=DENSE, present=plan, **options)


@pytest.mark.parametrize("bits", [4, None])
def test_a_network_seen_as_convolutions_computes_the_same(bits):
    for third in (LowRankLayer(1, 2), SupportLayer(4)):
        model, plan = trained(planned(WindowLayer(WINDOW, ROWS), third, bits))
        view = seen_as_convolutions(model, plan)
        x = batches(1)[0]
        assert torch.equal(view(x), model(x))
        assert all(isinstance(view.get_submodule(name), nn.Conv2d) for name in ("0", "3", "6"))
        # The kernel of a pair or support, before rounding, with its bias.
        kernel = view.get_submodule("6").weight
        assert kernel.shape == (8, 4, 3, 3) and kernel.abs().sum() > 0


def test_a_layer_may_stay_for_nothing_or_go_on_from_what_it_is(window_and_support, problem):
    _, plan = window_and_support
    _, window, support, _ = problem.choices
    stays, *fewer = sorted(window.candidates, key=lambda one: -one.cycles)
    assert stays.loss == 0 and stays.entry.kind == plan.layer("3").kind
    # Nothing but the same window with fewer rows; of them, the more the less is lost.
    assert [(one.entry.kind.window, one.entry.kind.rows) for one in fewer] == [(WINDOW, 48), (WINDOW, 24)]
    assert 0 < fewer[0].loss < fewer[1].loss
    # A support is one kernel, which may become anything that saves something.
    (stays,) = [one for one in support.candidates if one.entry.kind == plan.layer("6").kind]
    others = [one for one in support.candidates if one is not stays]
    assert stays.loss == 0 and others
    assert all(one.cycles < stays.cycles and one.loss > 0 for one in others)
    # What is lost against a trained network is on no scale with other plans.
    assert problem.plan([layer.candidates[0] for layer in problem.choices]).prediction is None
    # Shares are of the dense network all the same.
    assert problem.budgets[CYCLES] == total(problem.dense, CYCLES)


def with_rows(model, plan, problem, rows):
    """The network whose window layer has fewer rows."""
    chosen = []
    for layer in problem.choices:
        kind = plan.layer(layer.name).kind
        wanted = [one for one in layer.candidates if one.entry.kind == kind]
        if layer.name == "3":
            wanted = [one for one in layer.candidates if one.entry.kind.rows == rows]
        chosen.append(wanted[0])
    found = problem.plan(chosen).with_signs({layer.name: layer.input_signed for layer in plan.layers})
    made = copy.deepcopy(model)
    compress_again_(made, plan, found, problem.accuracy.known(found), batches())
    return made, found


def test_what_stays_is_the_same_to_the_last_bit(window_and_support, problem):
    model, plan = window_and_support
    made, found = with_rows(model, plan, problem, 24)
    assert found.layer("3").kind.rows == 24 and found.layer("6").kind == plan.layer("6").kind
    before, after = model.state_dict(), made.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        # Batch norms are estimated anew; all else of other layers is untouched, steps too.
        if not name.startswith("3.") and "running" not in name and "num_batches" not in name:
            assert torch.equal(after[name], value), name
    assert not torch.equal(after["3.matrix.weight"], before["3.matrix.weight"])
    same = copy.deepcopy(model)
    assert compress_again_(same, plan, plan, {}, batches()) == ()
    assert all(torch.equal(value, before[name]) for name, value in same.state_dict().items())


def test_a_window_that_loses_rows_is_the_best_one_for_what_it_gave(window_and_support, problem):
    """Brute force: least squares of the layer's own outputs on the inputs that it keeps."""
    model, plan = window_and_support
    made, _ = with_rows(model, plan, problem, 48)
    layer, now = model.get_submodule("3"), made.get_submodule("3")
    assert isinstance(layer, WindowConv2d) and isinstance(now, WindowConv2d)
    seen = []
    watched = observing({"3": layer}, before=lambda _, __, values: seen.append(values.clone()))
    with evaluating(model), torch.no_grad(), watched:
        for batch in batches():
            model(batch)
    boxes = patches(layer.matrix, torch.cat(seen)).double()  # (B, 1, n, P)
    x = boxes[:, 0].permute(1, 0, 2).flatten(1).numpy()  # (n, B P)
    kept = now.matrix.mask[0].flatten().numpy()
    had = layer.matrix.mask[0].flatten().numpy()
    assert kept.sum() == 48 and not np.any(kept & ~had)
    centred = x - x.mean(axis=1, keepdims=True)
    wanted = layer.matrix.weight.detach().double().flatten(1).numpy() @ centred
    best = np.linalg.lstsq(centred[kept].T, wanted.T, rcond=None)[0].T  # of inputs that tell of each other
    found = now.matrix.weight.detach().double().flatten(1).numpy()
    assert np.all(found[:, ~kept] == 0)
    left = [np.linalg.norm(one @ centred[kept] - wanted) for one in (found[:, kept], best)]
    assert left[1] <= left[0] < 1.01 * left[1]
    assert left[0] < 0.9 * np.linalg.norm(layer_without(layer, kept) @ centred - wanted)
    # The mean of what it gives is as before, in the biases of its pixels.
    mean = layer.matrix.weight.detach().double().flatten(1).numpy() @ x.mean(axis=1)
    own = found @ x.mean(axis=1) + now.bias.detach().double().numpy()
    np.testing.assert_allclose(own, mean + layer.bias.detach().double().numpy(), atol=1e-4)


def layer_without(layer, kept):
    """Its weights on some inputs as they are."""
    return layer.matrix.weight.detach().double().flatten(1).numpy() * kept


def test_a_step_keeps_open_what_the_last_budget_needs(problem):
    """The window of the layer is that of the last plan, though another one would lose less now."""
    dense = planning_problem(settled(network()), batches(), ARRAY, network=DENSE, kinds=["window"], bits=None)
    least = sum(min(one.cycles for one in layer.candidates) for layer in dense.choices)
    tight = replace(dense, budgets={CYCLES: least})
    last = step_solution(tight, tight.budgets)
    assert last.total(CYCLES) == least
    for share in (0.8, 0.6):
        limit = max(share * total(dense.dense, CYCLES), least)
        step = step_solution(tight, {CYCLES: limit})
        assert step.total(CYCLES) <= limit and step.total("loss") <= last.total("loss")
        for one, goal in zip(step.chosen, last.chosen, strict=True):
            if isinstance(one.entry.kind, WindowLayer):
                assert one.entry.kind.window == goal.entry.kind.window


def test_a_layer_that_is_skipped_stays_skipped(window_and_support, problem):
    """Nothing is left of it to quantise, and nothing that it could become costs less."""
    model, plan = window_and_support
    layers = []
    for layer in plan.layers:
        if layer.name == "6":
            layer = replace(layer, kind=SkippedLayer(), mapping="")
        layers.append(layer)
    skipping = replace(plan, layers=tuple(layers))
    made = copy.deepcopy(model)
    (report,) = compress_again_(made, plan, skipping, problem.accuracy.known(skipping), batches())
    assert report.kind == SkippedLayer() and report.parameters_after == 8
    found = again(made, skipping).choices[2].candidates
    assert {(one.entry.kind, one.cycles, one.loss) for one in found} == {(SkippedLayer(), 0, 0.0)}


def test_what_goes_with_dense_networks_alone_is_refused(window_and_support):
    model, plan = window_and_support
    with pytest.raises(InputError, match="give the trace of the dense network"):
        planning_problem(model, batches(), ARRAY, present=plan)
    with pytest.raises(InputError, match="max_drop is measured for plans of dense networks"):
        again(model, plan, max_drop=0.01)
    with pytest.raises(InputError, match=r"the present plan names layer 3, .* does not have"):
        again(nn.Sequential(nn.Conv2d(3, 6, 3)), plan)
    # Another window is another matrix.
    other = LayerPlan("3", WindowLayer((1, 3), 24))
    assert not WindowSurgery().goes_on(other, model.get_submodule("3"))
