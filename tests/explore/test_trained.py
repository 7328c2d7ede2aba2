"""What weights and data tell: losses are the planner's, plans keep their budgets, accuracies are measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.spaces import small_space
from rankfold.chip.best import run_on_chip
from rankfold.cost.energy import choose_mappings, completed, hardware_table
from rankfold.errors import InputError
from rankfold.explore import Exploration, explore
from rankfold.explore.exploration import PLANS
from rankfold.explore.measure import MEASURED
from rankfold.explore.trained import TrainedNetworks
from rankfold.plan import LowRank, Plan, uniform_plan
from rankfold.planning.accuracy import MeasureSettings
from rankfold.planning.plan_loss import PlanLosses
from rankfold.workload import Network, trace

IMAGES = 64
PLANS_OF_SPACE = [
    {"bits": 4},
    {"method": "low-rank", "groups": 1, "rank": 4, "bits": 4},
    {"budget": "cycles=60%", "bits": 4, "kinds": "low-rank"},
]
VARY = {"hardware/array": ["16x16"], "hardware/adc/bits": [2, 6], "cores/count": [2, 64]}


@pytest.fixture(scope="module")
def network(model: Any) -> Network:
    return trace(model, (1, 8, 8), "net")


@pytest.fixture(scope="module")
def trained(model: Any, network: Network, digits: Any) -> TrainedNetworks:
    return TrainedNetworks([model], [network], digits, images=IMAGES)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("explored") / "out"


@pytest.fixture(scope="module")
def found(network: Network, trained: TrainedNetworks, out: Path) -> Exploration:
    space = small_space(vary=VARY, plans=PLANS_OF_SPACE)
    return explore([network], space, out, trained=trained, measure=50)


def plan_of(found: Exploration, number: int) -> int:
    return found.space.point(number, 1).plan


def low_rank(found: Exploration, network: Network) -> Plan:
    """The plan of the second choice, on the arrays of all points."""
    array = found.space.chip(found.space.point(0, 1)).hardware.array
    return uniform_plan(network, array, LowRank(groups=1, rank=4), bits=4)


def test_losses_are_those_of_the_planner(
    found: Exploration, network: Network, model: Any, digits: Any, out: Path
) -> None:
    plan = low_rank(found, network)
    (made,) = [Plan.load(path) for path in (out / PLANS).iterdir()]
    of_setting = PlanLosses.on(model, digits, [plan], images=IMAGES).of(plan)
    expected = [0.0, pytest.approx(of_setting), made.predicted_loss]
    assert of_setting > 0 and made.predicted_loss not in (None, 0.0)
    for number, outcome in found.outcomes.items():
        assert outcome.figures is not None
        assert outcome.figures.loss == expected[plan_of(found, number)]


def test_plans_under_budgets_keep_them(network: Network, out: Path) -> None:
    from rankfold.cost import network_cycles

    (made,) = [Plan.load(path) for path in (out / PLANS).iterdir()]
    dense = uniform_plan(network, made.array, bits=4, mapping="sdk")
    cycles = network_cycles(network, made, ()).chosen_cycles
    assert cycles <= 0.6 * network_cycles(network, dense, ()).chosen_cycles
    assert {layer.kind.name for layer in made.layers} == {"dense", "low-rank"}


def test_accuracies_are_measured_on_the_arrays(
    found: Exploration, network: Network, model: Any, digits: Any
) -> None:
    assert found.accuracies is not None and set(found.accuracies) == set(found.predicted_front)
    plan = low_rank(found, network)
    number = next(one for one in found.accuracies if plan_of(found, one) == 1)
    hardware = completed(found.space.chip(found.space.point(number, 1)).hardware)
    settings = MeasureSettings(50, noise=hardware.non_idealities)
    measured = PlanLosses.on(model, digits, [plan], images=IMAGES).measuring(settings)(plan.on(hardware))
    assert found.accuracies[number] == pytest.approx(measured, abs=0.021)  # one image of 50, by rounding
    # An ADC of two bits leaves less of it than one of six.
    assert len(set(found.accuracies.values())) > 1
    assert set(found.front) <= set(found.predicted_front)


def test_mappings_are_measured_as_chips_have_them(
    network: Network, trained: TrainedNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which rows an ADC sums depends on them."""
    seen: list[Plan] = []

    def accuracy(self: TrainedNetworks, index: int, plan: Plan, *_: Any) -> float:
        seen.append(plan)
        return 0.5

    monkeypatch.setattr(TrainedNetworks, "accuracy", accuracy)
    found = explore([network], small_space(vary=VARY, plans=PLANS_OF_SPACE[1:2]), trained=trained, measure=50)
    expected = set()
    for number in found.predicted_front:
        chip = found.space.chip(found.space.point(number, 1))
        plan = uniform_plan(network, chip.hardware, LowRank(groups=1, rank=4), bits=4)
        plan = choose_mappings(network, plan, hardware_table(chip.hardware))
        run = run_on_chip(network, plan, chip, choose_mappings=True)
        expected.add((run.plan.layers, chip.hardware.adc_bits))
        assert run.plan.layers != low_rank(found, network).layers
    assert {plan.layers for plan in seen} == {layers for layers, _ in expected}
    assert len(seen) == len(expected)


def test_what_is_known_is_neither_planned_nor_measured_again(
    found: Exploration, network: Network, trained: TrainedNetworks, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (out / MEASURED).read_bytes()

    def refused(*_: Any) -> None:
        raise AssertionError("done again")

    monkeypatch.setattr(TrainedNetworks, "planned", refused)
    monkeypatch.setattr(TrainedNetworks, "accuracy", refused)
    again = explore([network], found.space, out, trained=trained, measure=50)
    assert again.accuracies == found.accuracies and again.front == found.front
    assert (out / MEASURED).read_bytes() == before


def test_the_same_networks_explore_another_space(
    found: Exploration, network: Network, trained: TrainedNetworks
) -> None:
    """What was gathered for one space's plans has not what those of another need."""
    plans = [{"bits": 4}, {"method": "window", "row_tiles": 2, "bits": 4}]
    space = small_space(vary={"cores/count": [64]}, plans=plans)
    fresh = explore([network], space, trained=trained)
    figures = [outcome.figures for outcome in fresh.outcomes.values()]
    losses = [each.loss for each in figures if each is not None]
    assert losses[0] == 0.0 and losses[1] > 0.0


def test_other_data_are_another_exploration(
    found: Exploration, network: Network, model: Any, digits: Any, out: Path
) -> None:
    other = TrainedNetworks([model], [network], digits, images=32)
    with pytest.raises(InputError, match=r"another exploration .*data"):
        explore([network], found.space, out, trained=other)


def test_a_budget_that_no_plan_keeps_is_a_reason(network: Network, trained: TrainedNetworks) -> None:
    plans = [{"bits": 4}, {"budget": "cycles=1", "kinds": "low-rank"}]
    space = small_space(vary={**VARY, "cores/count": [64]}, plans=plans)
    whys = [
        one.why for one in explore([network], space, trained=trained).outcomes.values() if not one.figures
    ]
    assert len(whys) == 2 and all("no plan within cycles=1, 4 bits on 16x16: " in why for why in whys)


def test_networks_and_models_go_together(network: Network, model: Any, digits: Any) -> None:
    with pytest.raises(InputError, match="there are 2 networks, and 1 models"):
        TrainedNetworks([model], [network, network], digits)
