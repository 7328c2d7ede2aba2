"""Plans for a described chip: their budgets hold in its model, and their bounds are bounds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.chips import chip, networks
from rankfold.chip.best import FIGURES, OBJECTIVES, run_as_planned, run_on_chip
from rankfold.chip.check import check_schedule
from rankfold.chip.energy import chip_table
from rankfold.chip.study import ChipStudy
from rankfold.errors import InputError
from rankfold.machine import Cores, load_chip
from rankfold.plan import Plan, uniform_plan
from rankfold.planning.exact import Budget, Candidate, LayerChoices
from rankfold.planning.mappings_alone import mapping_choices
from rankfold.planning.on_chip.costs import ChipCosts
from rankfold.planning.on_chip.latency import least_latency
from rankfold.planning.on_chip.plan import COUNTED, check_for_chip, mapping_plan_on_chip, solve_on_chip
from rankfold.planning.on_chip.search import Aim, ChipSearch
from rankfold.progress import Silent
from rankfold.workload import Network, zoo_network

EXAMPLES = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CHIP = chip(cores=9, arrays=8, rows=64)
BARE = Cores(count=1, arrays=1, rate=1, energy=0)


@given(networks(), st.sampled_from(tuple(FIGURES)), st.sampled_from([0.9, 1.2]))
@EXAMPLES
def test_budgets_hold_as_the_chip_counts_them_and_bounds_are_bounds(
    network: Network, limited: str, share: float
) -> None:
    try:
        found = mapping_plan_on_chip(network, CHIP, Budget(limited, share, share=True), objective="energy")
    except InputError:
        return
    # From the plan's file alone.
    plan = Plan.from_json(json.loads(json.dumps(found.planning.plan.to_json())))
    run = run_as_planned(network, plan, CHIP)
    assert run is not None
    assert all(figure(run) == figure(found.run) for figure in FIGURES.values())
    assert FIGURES[limited](run) <= share * FIGURES[limited](found.dense) * (1 + 1e-12)
    assert found.planning.solution.bound <= run.total_energy


def test_budgets_of_sums_go_beside_those_of_the_chip() -> None:
    """For those who call it with a problem, as for those who plan mappings alone."""
    network = zoo_network("resnet8")
    described = chip(cores=20, arrays=8, rows=64)
    cycles = Budget("cycles", 1.0, share=True)
    alone = mapping_plan_on_chip(network, described, cycles, objective="energy")
    problem: Any = SimpleNamespace(
        network=network,
        choices=alone.planning.choices,
        plan=lambda chosen: Plan.of(network, described.hardware, [one.entry for one in chosen]),
        budgets={"cycles": math.inf},
        objective="energy",
    )
    found = solve_on_chip(problem, described, cycles)
    assert found.planning.plan == alone.planning.plan
    assert found.planning.budgets == alone.planning.budgets


def lossy(choices: tuple[LayerChoices, ...]) -> tuple[LayerChoices, ...]:
    """Mappings that lose something: the more, the fewer cycles."""
    return tuple(
        replace(
            layer, candidates=tuple(replace(one, loss=1e3 / (1 + one.cycles)) for one in layer.candidates[:2])
        )
        for layer in choices
    )


@given(networks(), st.sampled_from([0.7, 0.9, 1.1]))
@settings(EXAMPLES, max_examples=6)
def test_no_plan_that_keeps_the_budgets_loses_less_than_the_bound(network: Network, share: float) -> None:
    network = replace(network, layers=network.layers[-3:], flow=None)
    choices = lossy(mapping_choices(network, CHIP.hardware, 4, chip_table(CHIP), ("cycles", *COUNTED)))

    def plan_of(chosen: tuple[Candidate, ...]) -> Plan:
        return Plan.of(network, CHIP.hardware, [one.entry for one in chosen])

    dense = plan_of(tuple(layer.dense for layer in choices))
    try:
        run = run_on_chip(network, dense, CHIP)
    except InputError:
        return
    if run.pipeline is None:
        return
    limits = {"interval": share * run.interval, "energy": 1.05 * run.total_energy}
    # Every plan of these candidates, on every number of arrays that is tried: what the chip makes of it.
    losses = []
    for chosen in product(*(layer.candidates for layer in choices)):
        tried = run_on_chip(network, plan_of(chosen), CHIP, within=limits, objective="energy")
        if tried.pipeline is not None and all(FIGURES[name](tried) <= limits[name] for name in limits):
            losses.append(sum(one.loss for one in chosen))
    costs = ChipCosts(network, CHIP, choices, dense, run.graph)
    search = ChipSearch(network, costs, plan_of, Aim(limits, {}, "loss"), Silent())
    try:
        found = search.find([layer.candidates[0] for layer in choices])
    except InputError:
        return  # none was found, which is no proof that there is none
    loss = sum(one.loss for one in found.chosen)
    assert found.bound <= min([loss, *losses]) * (1 + 1e-9)
    # The mappings that the chip is run with by default are candidates, too, and may be others.
    entries = [[one.entry for one in layer.candidates] for layer in choices]
    if all(one.entry in own for one, own in zip(found.chosen, entries, strict=True)):
        assert min(losses) <= loss * (1 + 1e-9)


@given(networks(), st.integers(0, 6))
@settings(EXAMPLES, max_examples=12)
def test_no_copies_of_any_choice_have_a_latency_below_the_bound(network: Network, spare: int) -> None:
    """Brute force: every choice of two mappings a layer, and every number of copies of each matrix."""
    network = replace(network, layers=network.layers[-3:], flow=None)
    small = chip(cores=1, arrays=64, rows=64)
    quantities = ("cycles", *COUNTED)
    choices = [
        replace(layer, candidates=layer.candidates[:2])
        for layer in mapping_choices(network, small.hardware, 4, chip_table(small), quantities)
    ]
    dense = Plan.of(network, small.hardware, [layer.dense.entry for layer in choices])
    graph = ChipStudy(network, dense, small).staying(small.arrays).graph
    fewest = ChipCosts(network, small, choices, dense, graph).fewest
    described = replace(small, cores=replace(small.cores, arrays=fewest + spare))
    bound = least_latency(ChipCosts(network, described, choices, dense, graph))
    least = math.inf
    for chosen in product(*(layer.candidates for layer in choices)):
        plan = Plan.of(network, small.hardware, [one.entry for one in chosen])
        study = ChipStudy(network, plan, small)
        run = study.staying(small.arrays)
        assert run.on_chip is not None
        tiles = [[tiles for tiles, _ in task.matrices] for task in run.graph.tasks if task.matrices]
        for copies in every_copy(tiles, described.arrays):
            names = list(run.on_chip.copies)
            stages = dict(zip(names, ((one,) for one in copies), strict=True))
            least = min(least, study.with_copies(replace(run.on_chip, copies=stages)).latency)
    assert 0 < 1e-3 * bound <= least * (1 + 1e-9)


def every_copy(tiles: list[list[int]], arrays: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Copies of each matrix of each layer, on so many arrays together."""
    if not tiles:
        yield ()
        return
    behind = sum(sum(one) for one in tiles[1:])
    for copies in product(*(range(1, arrays // own + 1) for own in tiles[0])):
        used = sum(own * number for own, number in zip(tiles[0], copies, strict=True))
        if used + behind <= arrays:
            for others in every_copy(tiles[1:], arrays - used):
                yield (copies, *others)


def test_the_bound_of_latencies_is_more_than_that_of_intervals() -> None:
    for name in ("rram-22nm", "neurram"):
        found = mapping_plan_on_chip(zoo_network("resnet8"), load_chip(name), objective="latency")
        assert found.planning.solution.bound > found.run.least_interval * 1e-3


def test_a_plan_for_a_chip_is_told_apart_from_another_chip_and_from_edited_layers() -> None:
    network, described = zoo_network("resnet8"), load_chip("rram-22nm")
    plan = mapping_plan_on_chip(network, described, objective="interval").planning.plan
    assert run_as_planned(network, plan, replace(described, name="other")) is None
    assert plan.on_chip is not None
    many = {**plan.on_chip.copies, "fc": ((10_000,),)}
    with pytest.raises(InputError, match=r"copies need .* arrays, and rram-22nm has 1,024"):
        run_as_planned(network, replace(plan, on_chip=replace(plan.on_chip, copies=many)), described)
    edited = {**plan.on_chip.copies, "fc": ((1, 1),)}
    with pytest.raises(InputError, match=r"not those of layer fc as it is mapped \(chip/copies/fc\)"):
        run_as_planned(network, replace(plan, on_chip=replace(plan.on_chip, copies=edited)), described)


def test_budgets_that_cannot_be_kept_are_refused_in_one_sentence() -> None:
    network, described = zoo_network("resnet8"), load_chip("rram-22nm")
    with pytest.raises(InputError, match=r"latency of at most 0\.00 us on the 1,024 arrays of rram-22nm"):
        mapping_plan_on_chip(network, described, Budget("latency", 1e-3))
    with pytest.raises(InputError, match=r"no plan was found with energy of at most .* the nearest has"):
        least = mapping_plan_on_chip(network, described, objective="energy").run.total_energy
        mapping_plan_on_chip(network, described, Budget("energy", 0.97 * least), objective="energy")
    few = replace(described, cores=replace(described.cores, count=1))
    dense = uniform_plan(network, few.hardware, bits=4)
    fewest = ChipStudy(network, dense, few, choose_mappings=True).mappings.fewest
    with pytest.raises(InputError, match=rf"the 16 arrays of rram-22nm: they need {fewest} at least, and"):
        mapping_plan_on_chip(network, few, objective="energy")
    with pytest.raises(InputError, match="arrays is no budget on a chip"):
        check_for_chip([Budget("arrays", 3)], None)


@pytest.mark.parametrize("objective", tuple(OBJECTIVES))
@pytest.mark.parametrize("name", ["rram-22nm", "sram-22nm", "neurram"])
def test_a_plan_is_never_worse_than_what_a_chip_is_run_with_by_default(name: str, objective: str) -> None:
    """`rankfold chip` chooses mappings and copies itself; a plan of the same layers has at most that."""
    network, described = zoo_network("resnet8"), load_chip(name)
    dense = uniform_plan(network, described.hardware, bits=4)
    own = run_on_chip(network, dense, described, objective=objective, choose_mappings=True)
    found = mapping_plan_on_chip(network, described, objective=objective)
    worth = OBJECTIVES[objective]
    assert worth(found.run) <= worth(own) * (1 + 1e-12)
    # Nor does a run with the plan's layers find other mappings that are better.
    again = run_on_chip(network, found.planning.plan, described, objective=objective, choose_mappings=True)
    assert worth(found.run) <= worth(again) * (1 + 1e-12)
    assert found.planning.solution.bound <= worth(found.run)
    # What is within the reach of the run is within that of plans.
    if objective in FIGURES:
        within = mapping_plan_on_chip(network, described, Budget(objective, worth(own)), objective="energy")
        assert worth(within.run) <= worth(own)


class Heard:
    """Keeps the parts of some work, with what they say that they have and how much of it is done."""

    def __init__(self) -> None:
        self.parts: list[list[Any]] = []
        self.open = False

    def begin(self, what: str, total: int, unit: str = "images") -> None:
        assert not self.open and total > 0
        self.open = True
        self.parts.append([what, total, 0])

    def advance(self, count: int = 1, detail: str = "") -> None:
        assert self.open
        self.parts[-1][2] += count

    def end(self, summary: str = "") -> None:
        assert self.open
        self.open = False

    def note(self, text: str) -> None:
        pass


def test_placing_planning_and_executing_say_how_far_they_are() -> None:
    network, described = zoo_network("resnet8"), load_chip("rram-22nm")
    heard = Heard()
    found = mapping_plan_on_chip(network, described, objective="energy", progress=heard)
    check_schedule(found.run, 3, heard)
    layers, placed, _, several, one = heard.parts
    assert [part[0] for part in heard.parts[:3]] == [
        "mappings of layers",
        "mappings and copies",
        "plans on the chip",
    ]
    assert all(done > 0 for _, _, done in heard.parts) and not heard.open
    # Nothing is left out, and nothing is more than it was said to be.
    assert layers[1] == layers[2] == len(network.layers) and placed[2] <= placed[1]
    assert several[1] == several[2] == 3 * one[1] and one[1] == one[2]
    with pytest.raises(InputError):
        run_on_chip(network, found.planning.plan, replace(described, cores=BARE, memory=None), progress=heard)
    assert not heard.open


def test_a_study_with_mappings_of_its_plan_has_those_alone() -> None:
    network, described = zoo_network("resnet8"), load_chip("rram-22nm")
    plan = mapping_plan_on_chip(network, described, objective="energy").planning.plan
    study = ChipStudy(network, plan, described)
    assert study.mappings.plan(described.arrays).layers == study.staying(described.arrays).plan.layers
    mappings = {layer.name: layer.mapping for layer in plan.layers}
    assert {layer.name: layer.mapping for layer in study.staying(described.arrays).plan.layers} == mappings
