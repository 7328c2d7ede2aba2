"""`best_plan`: budgets are kept, the plan is the best of its candidates, and any network can be planned."""

import copy
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import rankfold.planning
from common.small_network import net
from rankfold.cost import network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.models.load import apply_weights, read_weights
from rankfold.plan import DenseLayer, Plan, WindowLayer
from rankfold.planning import best_plan, losses, planning_problem, solve_problem
from rankfold.planning.accuracy import MeasureSettings
from rankfold.planning.data import planning_data
from rankfold.planning.exact import ARRAYS, CYCLES, ENERGY, INTERVAL, LOSS, Budget, total
from rankfold.planning.exact.quantities import ARRAY_CYCLES
from rankfold.planning.exact.widths import BitChoices
from rankfold.planning.explain import explained
from rankfold.planning.kinds import LayerStudy
from rankfold.planning.problem import PlanningProblem
from rankfold.progress import Silent
from rankfold.surgery.compress import compress_
from rankfold.surgery.kinds import surgery_of
from rankfold.surgery.kinds.kind import masked_positions
from rankfold.surgery.quantise import quantise_

ARRAY = ArraySpec(32, 32)
WHOLE = [Budget(quantity, 1.0, share=True) for quantity in (CYCLES, ENERGY, ARRAYS)]


@pytest.fixture(scope="module")
def problem(model, digits):
    return planning_problem(model, digits, ARRAY, *WHOLE)


def with_limits(problem, limits, max_drop=None):
    return replace(problem, budgets=limits, max_drop=max_drop)


def normalised(digits, images=512):
    """The batches that planning makes of the images drawn under seed 0."""
    return list(planning_data(digits, torch.device("cpu")).calibration(images, seed=0))


def products(problem):
    return itertools.product(*problem.candidates)


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
    allowed = []
    for chosen in products(problem):
        if all(total(chosen, quantity) <= limit for quantity, limit in limits.items()):
            allowed.append(total(chosen, LOSS))
    assert planning.solution.total(LOSS) == pytest.approx(min(allowed), abs=1e-12)
    assert planning.solution.gap == 0
    assert network_cycles(problem.network, planning.plan).chosen_cycles <= limits[CYCLES]
    for layer in planning.plan.layers:
        # Reasons are shown behind the name of the kind.
        assert layer.reason and not layer.reason.startswith(layer.kind.name)


def test_candidates_are_dropped_without_loss(model, digits, problem, monkeypatch):
    """Under every budget of cycles the least loss is that of all candidates, windows among them."""
    for filtering in ("without_hopeless", "cheaper_than_lossless", "pareto"):
        monkeypatch.setattr(losses, filtering, lambda candidates, budgeted: tuple(candidates))
    everything = planning_problem(model, digits, ARRAY)
    kinds = [[type(one.entry.kind) for one in layer] for layer in everything.candidates]
    assert all(WindowLayer in layer for layer in kinds if len(layer) > 3)
    dense = total(problem.dense, CYCLES)
    for share in (0.3, 0.5, 0.8):
        limits = {CYCLES: share * dense}
        allowed = []
        for chosen in products(everything):
            if total(chosen, CYCLES) <= limits[CYCLES]:
                allowed.append(total(chosen, LOSS))
        found = solve_problem(with_limits(problem, limits))
        assert found.solution.total(LOSS) == pytest.approx(min(allowed), rel=1e-6)


@pytest.fixture(scope="module")
def of_bits(model, digits):
    """What layers may become where they may have other bits, on arrays with cells and DACs of a bit."""
    return of_bits_problem(model, digits)


def of_bits_problem(model, digits):
    array = ArraySpec(32, 36, cell_bits=1, dac_bits=1)
    choices = BitChoices((2, 3), (2, 3, 5))
    budgets = [Budget(ARRAY_CYCLES, 0.5, share=True), Budget(ENERGY, 0.6, share=True)]
    return planning_problem(model, digits, array, *budgets, layer_bits=choices, kinds=["window"], images=64)


def test_bits_of_each_layer_are_chosen_with_what_it_becomes(of_bits, model, digits):
    """Of the first convolution, too; costs are those of the plan, and the network gets these bits."""
    planning = solve_problem(of_bits)
    chosen, table = planning.solution.chosen, load_table("rram-22nm")
    energy = network_energy(of_bits.network, planning.plan, table)
    assert energy.energy == pytest.approx(total(chosen, ENERGY))
    assert network_cycles(of_bits.network, planning.plan).array_cycles == total(chosen, ARRAY_CYCLES)
    for quantity, limit in planning.budgets.items():
        assert total(chosen, quantity) <= limit
    first, *_, last = planning.plan.layers
    for choice in of_bits.choices:
        own = (4, 4) if choice.name not in (first.name, last.name) else (8, 8)
        seen = {(one.entry.weight_bits, one.entry.input_bits) for one in choice.candidates}
        allowed = (
            {own} if choice.name == last.name else {*itertools.product((2, 3, own[0]), (2, 3, 5, own[1]))}
        )
        assert seen <= allowed
        assert (choice.dense.entry.weight_bits, choice.dense.entry.input_bits) == own
    assert any(layer.weight_bits == 2 or layer.weight_bits == 3 for layer in planning.plan.layers)
    network = copy.deepcopy(model)
    compress_(network, planning.plan, normalised(digits))
    plan = quantise_(network, Plan.from_json(planning.plan.to_json()), normalised(digits))
    for layer in plan.layers:
        for part in surgery_of(layer.kind).parts(layer):
            module = network.get_submodule(part.name)
            bits = module.weight_quantiser.bits, module.input_quantiser.bits
            assert bits == (layer.weight_bits, layer.input_bits)
            changed = bits not in ((4, 4), (8, 8))
            assert ("bits of weights/inputs" in layer.reason) == changed


def test_bits_are_dropped_without_loss(of_bits, model, digits, monkeypatch):
    """Whatever a layer may become, at any bits: what is left costs no more and loses no more."""
    for filtering in ("without_hopeless", "cheaper_than_lossless", "pareto"):
        monkeypatch.setattr(losses, filtering, lambda candidates, budgeted: tuple(candidates))
    everything = of_bits_problem(model, digits)
    for layer, left in zip(everything.choices[:-1], of_bits.choices, strict=False):
        seen = {(one.entry.weight_bits, one.entry.input_bits) for one in layer.candidates}
        own = layer.dense.entry.weight_bits
        assert seen == {*itertools.product((2, 3, own), (2, 3, 5, own))}
        assert len(left.candidates) < len(layer.candidates)
        found = np.array([_amounts(one) for one in left.candidates])
        for one in layer.candidates:
            assert (found <= np.array(_amounts(one)) * (1 + 1e-9)).all(axis=1).any(), one.entry


def _amounts(candidate):
    return [candidate.cost(quantity) for quantity in (CYCLES, ARRAY_CYCLES, ENERGY, LOSS)]


def test_why_layers_keep_their_bits(of_bits, model, digits):
    plan = of_bits.plan(of_bits.dense)
    assert plan.layers[-1].reason.endswith("; keeps its bits: fully connected layers cost nothing here")
    assert not any("keeps its bits" in layer.reason for layer in plan.layers[:-1])
    with pytest.raises(
        InputError, match="layer_bits change no layer, as all keep their bits: no others were"
    ):
        planning_problem(model, digits, ARRAY, bits=8, layer_bits=BitChoices((8,), (8,)), images=8)


def test_why_a_layer_stays_names_what_counts(of_bits):
    (layer, *_) = of_bits.choices
    dearest = replace(layer, candidates=(layer.dense,))
    reason = explained(dearest, layer.dense, of_bits.limited).reason
    assert of_bits.limited == (ARRAY_CYCLES, ENERGY)
    assert reason == layer.why_dense or "needs less of array cycles or energy" in reason
    cheap = replace(layer.dense, energy=layer.dense.energy / 2)
    open_layer = replace(layer, why_dense="", candidates=(layer.dense, cheap))
    assert "costs more loss here" in explained(open_layer, layer.dense, (ENERGY,)).reason
    assert "needs less of array cycles" in explained(open_layer, layer.dense, (ARRAY_CYCLES,)).reason


def test_bits_cannot_be_chosen_for_a_float_network(model, digits):
    with pytest.raises(InputError, match="layer_bits are chosen instead of the network's bits"):
        planning_problem(model, digits, ARRAY, bits=None, layer_bits=BitChoices((2,), (2,)), images=8)


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


def test_layers_become_only_kinds_that_are_wanted(model, digits, monkeypatch):
    """Supports are not even chosen where nothing would lie on one."""
    monkeypatch.setattr(LayerStudy, "families", property(lambda study: pytest.fail("supports were chosen")))
    found = planning_problem(
        model, digits, ARRAY, Budget(CYCLES, 0.5, share=True), kinds=["window"], images=32
    )
    named = {type(candidate.entry.kind) for layer in found.choices for candidate in layer.candidates}
    assert named == {DenseLayer, WindowLayer}
    alone = planning_problem(model, digits, ARRAY, Budget(CYCLES, 0.5, share=True), kinds=[], images=32)
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


class ByName(nn.Module):
    """A network that is called with its images and something else by name."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, pixels, scale):
        return self.inner(pixels * scale[:, None, None, None])


def test_inputs_by_name_give_the_plan_of_the_images_alone(model, digits):
    (images,) = normalised(digits, 64)
    budget = Budget(CYCLES, 0.6, share=True)
    alone = best_plan(model, [images], ARRAY, budget)
    named = best_plan(ByName(model), [{"pixels": images, "scale": torch.ones(64)}], ARRAY, budget)
    kinds = [layer.kind for layer in alone.plan.layers]
    assert [layer.kind for layer in named.plan.layers] == kinds
    assert named.plan.layers[0].name == "inner.0"
    assert named.solution.value == pytest.approx(alone.solution.value)


def test_any_iterable_of_batches_gives_the_plan_of_its_images(model, digits):
    images = normalised(digits, 64)[0]
    budget = Budget(CYCLES, 0.6, share=True)
    targets = torch.zeros(len(images), dtype=torch.int64)
    plans = []
    for data in ([images], iter([images]), [(images, targets)], torch.utils.data.DataLoader(images, 64)):
        plans.append(best_plan(model, data, ARRAY, budget, images=len(images)))
    assert len({plan.plan.digest() for plan in plans}) == 1
    for plan in plans:
        assert plan.solution.value == pytest.approx(plans[0].solution.value, rel=1e-5)  # strides differ


@pytest.mark.parametrize("goal", [ENERGY, INTERVAL])
def test_the_least_of_a_quantity_for_a_loss(problem, goal):
    allowed = [one for one in products(problem) if total(one, LOSS) <= 0.05]
    least = min(total(chosen, goal) for chosen in allowed)
    found = solve_problem(replace(with_limits(problem, {LOSS: 0.05}), objective=goal)).solution
    assert found.total(goal) == pytest.approx(least, rel=1e-9)
    of_least = [total(chosen, LOSS) for chosen in allowed if total(chosen, goal) <= least * (1 + 1e-9)]
    assert found.total(LOSS) == pytest.approx(min(of_least), abs=1e-12)


def test_cycles_are_small_where_only_the_loss_is_limited(problem):
    found = solve_problem(with_limits(problem, {LOSS: 0.05})).solution
    assert found.goal == CYCLES
    assert found.value == min(total(one, CYCLES) for one in products(problem) if total(one, LOSS) <= 0.05)


def test_the_allowed_drop_is_measured(problem):
    planning = solve_problem(with_limits(problem, {}, 0.03))
    assert planning.drop.amount <= 0.03
    assert planning.drop.planned == problem.accuracy(planning.plan)
    assert planning.solution.total(CYCLES) < total(problem.dense, CYCLES)
    few_cycles = {CYCLES: 0.35 * total(problem.dense, CYCLES)}
    with pytest.raises(InputError, match="no plan within the budgets was found to lose at most 0 points"):
        solve_problem(with_limits(problem, few_cycles, 0.0))


def test_of_plans_with_equal_cycles_the_one_of_least_loss_is_measured(problem):
    """The cheapest plan of all has the least loss of those that are as cheap."""
    planning = solve_problem(with_limits(problem, {}, 0.99))
    fewest = min(total(chosen, CYCLES) for chosen in products(problem))
    losses = [total(chosen, LOSS) for chosen in products(problem) if total(chosen, CYCLES) == fewest]
    assert planning.solution.total(CYCLES) == fewest == planning.solution.value
    assert planning.solution.total(LOSS) == pytest.approx(min(losses), abs=1e-12)


def test_the_allowed_drop_is_measured_on_batches_with_classes(model, digits):
    """The first 500 samples calibrate, the others are classified."""
    images = torch.cat(normalised(digits, len(digits.train)))
    labels = torch.from_numpy(digits.train.sample(len(digits.train), 0).labels)
    pairs = list(zip(images.split(100), labels.split(100), strict=True))
    planning = best_plan(model, pairs, ARRAY, max_drop=0.05, images=200)
    assert planning.drop.dense > 0.9
    assert planning.drop.amount <= 0.05
    assert any(layer.kind.changes_weight for layer in planning.plan.layers)


class Counts(Silent):
    """Keeps the parts of the work and how far each came."""

    def __init__(self):
        self.parts = []

    def begin(self, what, total, unit="images"):
        self.parts.append([what, total, unit, 0])

    def advance(self, count=1, detail=""):
        self.parts[-1][3] += count


@pytest.mark.parametrize("allowed", [0.0, 0.02, 0.05, 0.2])
def test_no_more_measurements_than_said_and_the_cheapest_of_them_wins(problem, allowed):
    measured = {}
    accuracy = problem.accuracy

    class Watched:
        def __call__(self, plan):
            measured[plan] = accuracy(plan)
            return measured[plan]

    counts = Counts()
    planning = solve_problem(replace(with_limits(problem, {}, allowed), accuracy=Watched()), counts)
    ((what, most, unit, done),) = counts.parts
    assert (what, most, unit) == ("measuring accuracy", 8, "plans")
    assert done <= most
    dense = measured[problem.plan(problem.dense)]
    keeping = [plan for plan, share in measured.items() if dense - share <= allowed]
    cycles = {plan: network_cycles(problem.network, plan).chosen_cycles for plan in keeping}
    assert planning.plan in keeping
    assert cycles[planning.plan] == min(cycles.values())


def test_progress_hears_of_calibration_and_candidates(model, digits):
    counts = Counts()
    planning_problem(model, digits, ARRAY, images=32, progress=counts)
    assert counts.parts == [["calibration", 2, "layers", 2], ["candidates", 4, "layers", 4]]


def test_damaged_weights(weights, digits, tmp_path):
    broken = {name: value.clone() for name, value in read_weights(weights).items()}
    broken["2.weight"][0, 0, 0, 0] = math.nan
    save_file(broken, tmp_path / "model.safetensors")
    model = net()
    apply_weights(model, read_weights(tmp_path / "model.safetensors"), "model.safetensors")
    words = "outputs on the calibration data are not finite; its weights may be damaged"
    with pytest.raises(InputError, match=words):
        best_plan(model, digits, ARRAY, Budget(CYCLES, 0.7, share=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_data_that_are_not_finite_are_refused(model, bad):
    images = torch.zeros(8, 1, 8, 8)
    images[3, 0, 2, 2] = bad
    with pytest.raises(
        InputError, match=r"the calibration data hold values that are not finite \(NaN or infinite\)"
    ):
        best_plan(model, [images], ARRAY, Budget(CYCLES, 0.7, share=True))


@pytest.mark.parametrize(
    ("budgets", "options", "words"),
    [
        ([], {}, "a plan needs a budget: cycles, arrays, energy, ..., or what may be lost"),
        ([Budget(CYCLES, 0.5, True), Budget(CYCLES, 9)], {}, "there are two budgets of cycles; give one"),
        ([], {"max_drop": -0.01}, r"max drop \(=-1 points\) must be at least 0 and below 100"),
        ([], {"max_drop": 1.0}, r"max drop \(=100 points\) must be at least 0 and below 100"),
        ([Budget(CYCLES, 9)], {"images": 0}, r"images \(=0\) must be 1 or more"),
        ([Budget(CYCLES, 9)], {"seed": -1}, r"seed \(=-1\) must be between 0 and 2147483647"),
        ([Budget(CYCLES, 9)], {"bits": 9}, r"bits \(=9\) must be a whole number from 1 to 8"),
        ([Budget(CYCLES, 9)], {"kinds": "window"}, "kinds must be names of kinds, some of low-rank, support"),
        (
            [Budget(CYCLES, 9)],
            {"kinds": ["pairs"]},
            "kinds has 'pairs', which no plan chooses; there are low-r",
        ),
        ([Budget(CYCLES, 9)], {"objective": "energy"}, "the least energy alone would lose whatever it takes"),
        ([Budget(CYCLES, 9)], {"objective": "time"}, r"objective \(=time\): the quantity must be one of cyc"),
        ([], {"max_loss": -1}, r"max_loss \(=-1 nats\) must be 0 or more"),
        ([], {"max_drop": 0.1}, "a batch to evaluate on is a Tensor; give pairs"),
    ],
)
def test_wrong_requests_are_refused_before_any_work(model, budgets, options, words):
    class Works(Silent):
        def begin(self, what, total, unit="images"):
            raise AssertionError("work began")

    with pytest.raises(InputError, match=words):
        best_plan(model, [torch.zeros(600, 1, 8, 8)], ARRAY, *budgets, progress=Works(), **options)


def test_a_budget_out_of_reach(problem):
    with pytest.raises(
        InputError, match="no plan has at most 3 cycles: the fewest that these layers can reach is"
    ):
        solve_problem(with_limits(problem, {CYCLES: 3.0}))


def test_networks_that_cannot_be_planned(digits):
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    with pytest.raises(InputError, match="no two-dimensional convolution, so that there is nothing to plan"):
        best_plan(linear, digits, ARRAY, Budget(CYCLES, 0.5, True))
    with pytest.raises(InputError, match=r"nothing to map"):
        best_plan(nn.Flatten(), digits, ARRAY, Budget(CYCLES, 0.5, True))
    with pytest.raises(InputError, match="Sequential"):  # three channels are too many
        best_plan(net(), [torch.zeros(4, 3, 8, 8)], ARRAY, Budget(CYCLES, 0.5, True))


def test_the_measure_is_on_images_that_nothing_was_calibrated_on(problem):
    assert problem.accuracy.settings == MeasureSettings(2000, seed=0, calibrated=512)


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layer_bits": "2-8"}, "layer_bits must be BitChoices, such as .*, not the text '2-8'"),
        ({"trades": "cycles"}, "trades must be a list of quantities, .*, not the text 'cycles'"),
        ({"max_loss": "0.1"}, "max_loss must be a number, not the text '0.1'"),
    ],
)
def test_problems_refuse_what_is_of_a_wrong_type(arguments, words):
    with pytest.raises(InputError, match=words):
        planning_problem(nn.Linear(1, 1), [], ARRAY, **arguments)
