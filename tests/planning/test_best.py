"""`best_plan`: budgets are kept, and the plan is the best of its candidates, which networks then become."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import rankfold.planning
from common.every_choice import totals, within
from common.planned_net import ARRAY, Counts, normalised, with_limits
from common.small_network import net
from rankfold.cost import network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import DenseLayer, WindowLayer
from rankfold.planning import PlanningOptions, best_plan, layer_work, planning_problem, solve_problem
from rankfold.planning.exact import ARRAYS, CYCLES, ENERGY, INTERVAL, LOSS, Budget, total
from rankfold.planning.exact.quantities import ARRAY_CYCLES
from rankfold.planning.kinds import LayerStudy
from rankfold.planning.problem import PlanningProblem
from rankfold.surgery.compress import compress_
from rankfold.surgery.kinds.kind import masked_positions
from rankfold.surgery.quantise import quantise_


def test_costs_of_candidates_are_those_of_their_plans(problem):
    """Each candidate alone in a dense network: cycles, arrays and energy as `map` and `energy` count them."""
    dense, table = problem.dense, load_table("rram-22nm")
    for number, layer in enumerate(problem.choices):
        for candidate in layer.candidates:
            chosen = [*dense[:number], candidate, *dense[number + 1 :]]
            whole = problem.plan(chosen)
            assert network_cycles(problem.network, whole).chosen_cycles == total(chosen, CYCLES)
            energy = network_energy(problem.network, whole, table)
            assert energy.energy == pytest.approx(total(chosen, ENERGY))
    assert all(candidate.loss == 0 for candidate in dense)


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5])
def test_a_plan_is_the_best_of_its_candidates(problem, share):
    limits = {CYCLES: share * total(problem.dense, CYCLES), ARRAYS: 1.2 * total(problem.dense, ARRAYS)}
    planning = solve_problem(with_limits(problem, limits))
    allowed = totals(problem.candidates, LOSS)[within(problem.candidates, limits)]
    assert planning.solution.total(LOSS) == pytest.approx(allowed.min(), abs=1e-12)
    assert planning.solution.gap == 0
    assert network_cycles(problem.network, planning.plan).chosen_cycles <= limits[CYCLES]
    for layer in planning.plan.layers:
        # Reasons are shown behind the name of the kind.
        assert layer.reason and not layer.reason.startswith(layer.kind.name)


def test_candidates_are_dropped_without_loss(model, digits, problem, monkeypatch):
    """Under every budget of cycles the least loss is that of all candidates, windows among them."""
    for filtering in ("without_hopeless", "cheaper_than_lossless", "pareto"):
        monkeypatch.setattr(layer_work, filtering, lambda candidates, budgeted: tuple(candidates))
    everything = planning_problem(model, digits, ARRAY)
    kinds = [[type(one.entry.kind) for one in layer] for layer in everything.candidates]
    assert all(WindowLayer in layer for layer in kinds if len(layer) > 3)
    dense = total(problem.dense, CYCLES)
    for share in (0.3, 0.5, 0.8):
        limits = {CYCLES: share * dense}
        allowed = totals(everything.candidates, LOSS)[within(everything.candidates, limits)]
        found = solve_problem(with_limits(problem, limits))
        assert found.solution.total(LOSS) == pytest.approx(allowed.min(), rel=1e-6)


@pytest.mark.parametrize("goal", [ENERGY, INTERVAL])
def test_the_least_of_a_quantity_for_a_loss(problem, goal):
    allowed = within(problem.candidates, {LOSS: 0.05})
    costs, lost = (totals(problem.candidates, quantity)[allowed] for quantity in (goal, LOSS))
    least = costs.min()
    found = solve_problem(replace(with_limits(problem, {LOSS: 0.05}), objective=goal)).solution
    assert found.total(goal) == pytest.approx(least, rel=1e-9)
    of_least = lost[costs <= least * (1 + 1e-9)]
    assert found.total(LOSS) == pytest.approx(of_least.min(), abs=1e-12)


def test_cycles_are_small_where_only_the_loss_is_limited(problem):
    found = solve_problem(with_limits(problem, {LOSS: 0.05})).solution
    assert found.goal == CYCLES
    allowed = within(problem.candidates, {LOSS: 0.05})
    assert found.value == totals(problem.candidates, CYCLES)[allowed].min()


def test_layers_become_only_kinds_that_are_wanted(model, digits, monkeypatch):
    """Supports are not even chosen where nothing would lie on one."""
    monkeypatch.setattr(LayerStudy, "families", property(lambda study: pytest.fail("supports were chosen")))
    found = planning_problem(
        model,
        digits,
        ARRAY,
        Budget(CYCLES, 0.5, share=True),
        options=PlanningOptions(kinds=["window"], images=32),
    )
    named = {type(candidate.entry.kind) for layer in found.choices for candidate in layer.candidates}
    assert named == {DenseLayer, WindowLayer}
    alone = planning_problem(
        model, digits, ARRAY, Budget(CYCLES, 0.5, share=True), options=PlanningOptions(kinds=[], images=32)
    )
    assert all(
        not candidate.entry.kind.changes_weight for layer in alone.choices for candidate in layer.candidates
    )


def test_window_layers_become_what_was_planned(model, digits, problem):
    """Their supports are in the plan, and the weights are those that were judged."""
    chosen = []
    for layer in problem.choices:
        windows = [one for one in layer.candidates if isinstance(one.entry.kind, WindowLayer)]
        chosen.append(min(windows, key=lambda one: one.cycles, default=layer.dense))
    plan = problem.plan(chosen)
    network = net()
    network.load_state_dict(model.state_dict())
    compress_(network, plan, digits)
    assert plan.changed
    for layer in plan.changed:
        matrix = network.get_submodule(layer.name).matrix
        assert masked_positions(matrix) == layer.kind.support
        assert layer.reason.startswith(f"{layer.kind.short()}: ")
    measured = problem.accuracy.compressed(plan)
    for layer in plan.changed:
        weight = network.get_submodule(layer.name).weight
        torch.testing.assert_close(measured.get_submodule(layer.name).weight, weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dilation", "stride"), [(2, 1), (3, 2)])
def test_dilated_layers_are_planned(dilation, stride):
    """Window layers too, whose boxes hold inputs that no patch of a single pixel has."""
    dilated = nn.Conv2d(4, 4, 3, stride, padding=dilation, dilation=dilation)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        dilated,
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(3),
    ).eval()
    batches = [torch.randn(48, 1, 8, 8, generator=torch.Generator().manual_seed(0))]
    model(batches[0])
    found = best_plan(model, batches, ArraySpec(16, 8), Budget(CYCLES, 0.6, share=True), bits=None, images=48)
    (wanted,) = [entry for entry in found.plan.layers if entry.name == "2"]
    assert wanted.kind.changes_weight
    windows = {
        candidate.entry.kind.window
        for layer in found.choices
        for candidate in layer.candidates
        if isinstance(candidate.entry.kind, WindowLayer)
    }
    assert windows and (1, 1) not in windows
    compress_(model, found.plan, batches)
    assert model(batches[0]).isfinite().all()


def test_a_plan_in_one_call_is_that_of_the_problem(model, digits, problem):
    budget = Budget.parse("cycles", "60%")
    planning = best_plan(model, digits, ARRAY, budget)
    limits = {CYCLES: 0.6 * total(problem.dense, CYCLES)}
    assert planning.budgets == limits
    assert planning.solution.value == pytest.approx(
        solve_problem(with_limits(problem, limits)).solution.value
    )
    assert planning.plan.model == "Sequential"
    assert planning.drop is None and planning.dense == tuple(layer.dense for layer in planning.choices)


def test_a_plan_can_be_followed(model, digits):
    """By the verbs, on the very batches that it was made with."""
    (images,) = normalised(digits, 96)
    batches = [images[:48], images[48:]]
    planning = best_plan(model, batches, ARRAY, Budget(CYCLES, 0.5, share=True), images=96)
    network = net()
    network.load_state_dict(model.state_dict())
    reports = compress_(network, planning.plan, batches)
    assert any(report.kind.changes_weight for report in reports)
    assert not quantise_(network, planning.plan, batches).layers[1].input_signed
    assert network(images).isfinite().all()


def test_progress_hears_of_calibration_and_candidates(model, digits):
    counts = Counts()
    planning_problem(model, digits, ARRAY, options=PlanningOptions(images=32), progress=counts)
    assert counts.parts == [["calibration", 2, "layers", 2], ["candidates", 4, "layers", 4]]


def test_the_names_of_the_room():
    for name in rankfold.planning.__all__:
        assert getattr(rankfold.planning, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        rankfold.planning.nothing  # noqa: B018


def test_a_problem_has_the_front_that_it_was_made_for():
    def traded(*trades):
        return PlanningProblem(None, None, ARRAY, (), None, budgets={}, trades=trades)

    with pytest.raises(
        InputError, match="fronts of this problem trade cycles and array cycles; ask for its s"
    ):
        traded(CYCLES, ARRAY_CYCLES).front()
    with pytest.raises(
        InputError, match="fronts of this problem trade array cycles alone; ask for its front"
    ):
        traded(ARRAY_CYCLES).surface()
