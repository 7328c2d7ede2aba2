"""`best_plan` with bits to choose: they are chosen with what each layer becomes."""

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest

from common.planned_net import ARRAY, normalised
from rankfold.cost import network_cycles
from rankfold.cost.energy import load_table, network_energy
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import Plan
from rankfold.planning import PlanningOptions, accuracy, layer_work, planning_problem, solve_problem
from rankfold.planning.exact import CYCLES, ENERGY, LOSS, Budget, total
from rankfold.planning.exact.quantities import ARRAY_CYCLES
from rankfold.planning.exact.widths import BitChoices
from rankfold.planning.explain import explained
from rankfold.planning.search.problem_search import _identity
from rankfold.surgery.compress import compress_
from rankfold.surgery.kinds import surgery_of
from rankfold.surgery.quantise import quantise_


@pytest.fixture(scope="module")
def of_bits(model, digits):
    """What layers may become where they may have other bits, on arrays with cells and DACs of a bit."""
    return of_bits_problem(model, digits)


def of_bits_problem(model, digits):
    array = ArraySpec(32, 36, cell_bits=1, dac_bits=1)
    choices = BitChoices((2, 3), (2, 3, 5))
    budgets = [Budget(ARRAY_CYCLES, 0.5, share=True), Budget(ENERGY, 0.6, share=True)]
    return planning_problem(
        model,
        digits,
        array,
        *budgets,
        options=PlanningOptions(layer_bits=choices, kinds=["window"], images=64),
    )


def test_bits_of_each_layer_are_chosen_with_what_it_becomes(of_bits, model, digits):
    """Of the first convolution, too; costs are those of the plan, and the network gets these bits."""
    planning = solve_problem(of_bits)
    # With what rounding loses, which other plans do not count.
    assert planning.plan.prediction is None
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
        monkeypatch.setattr(layer_work, filtering, lambda candidates, budgeted: tuple(candidates))
    everything = of_bits_problem(model, digits)
    for layer, left in zip(everything.choices[:-1], of_bits.choices, strict=False):
        seen = {(one.entry.weight_bits, one.entry.input_bits) for one in layer.candidates}
        own = layer.dense.entry.weight_bits
        assert seen == {*itertools.product((2, 3, own), (2, 3, 5, own))}
        assert len(left.candidates) < len(layer.candidates)
        found = np.array([_amounts(one) for one in left.candidates])
        for one in layer.candidates:
            assert (found <= np.array(_amounts(one)) * (1 + 1e-9)).all(axis=1).any(), one.entry


def test_rounding_is_counted_and_measured_on_the_levels_that_cells_hold(model, digits, monkeypatch):
    """Of 3 bits, differential cells of two hold no -4, those of 3 and 4 do; None: the table's."""
    quantised = []

    def watched(*args, **kwargs):
        quantised.append(quantise_(*args, **kwargs))
        return quantised[-1]

    monkeypatch.setattr(accuracy, "quantise_", watched)
    losses = {}
    for cell_bits in (None, 2, 3, 4):
        array = ArraySpec(32, 36, cell_bits=cell_bits)
        found = planning_problem(
            model,
            digits,
            array,
            options=PlanningOptions(
                bits=3, count_rounding=True, kinds=["support"], images=64, measured_images=8
            ),
        )
        losses[cell_bits] = [layer.dense.loss for layer in found.choices]
        found.accuracy(found.plan(found.dense))
        # A search of other levels is another one; those of all levels keep the name that they had.
        assert ("narrow weights" in _identity(found, found.accuracy)) == (cell_bits in (None, 2))
        narrow = {layer.narrow_weights for layer in quantised.pop().layers if layer.weight_bits == 3}
        assert narrow == {cell_bits in (None, 2)}
    assert losses[None] == losses[2] and losses[3] == losses[4]
    assert sum(losses[2]) > sum(losses[3])


def _amounts(candidate):
    return [candidate.cost(quantity) for quantity in (CYCLES, ARRAY_CYCLES, ENERGY, LOSS)]


def test_why_layers_keep_their_bits(of_bits, model, digits):
    plan = of_bits.plan(of_bits.dense)
    assert plan.layers[-1].reason.endswith("; keeps its bits: fully connected layers cost nothing here")
    assert not any("keeps its bits" in layer.reason for layer in plan.layers[:-1])
    with pytest.raises(
        InputError, match="layer_bits change no layer, as all keep their bits: no others were"
    ):
        planning_problem(
            model, digits, ARRAY, options=PlanningOptions(bits=8, layer_bits=BitChoices((8,), (8,)), images=8)
        )


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
        planning_problem(
            model,
            digits,
            ARRAY,
            options=PlanningOptions(bits=None, layer_bits=BitChoices((2,), (2,)), images=8),
        )


def test_rounding_to_the_networks_bits_counts_in_the_choice(model, digits):
    """Beside what changed weights lose, and as with bits to choose; pairs of matrices are rounded twice."""
    budget, given = Budget(CYCLES, 0.4, share=True), {"kinds": ["window", "low-rank"], "images": 64}
    plain = planning_problem(model, digits, ARRAY, budget, options=PlanningOptions(**given))
    counted = planning_problem(
        model, digits, ARRAY, budget, options=PlanningOptions(count_rounding=True, **given)
    )
    chosen = planning_problem(
        model, digits, ARRAY, budget, options=PlanningOptions(layer_bits=BitChoices((3,), (3,)), **given)
    )
    of_rounding, matched = {}, 0
    for layer, other, wider in zip(counted.choices, plain.choices, chosen.choices, strict=True):
        without = {one.entry: one.loss for one in other.candidates}
        among_others = {one.entry: one.loss for one in wider.candidates}
        bits = other.dense.entry.weight_bits, other.dense.entry.input_bits
        for one in (layer.dense, *layer.candidates):
            assert (one.entry.weight_bits, one.entry.input_bits) == bits
            if one.entry in without:
                of_rounding[one.entry] = one.loss - without[one.entry]
            if one.entry in among_others:
                assert one.loss == pytest.approx(among_others[one.entry])
                matched += one.entry.kind.changes_weight
    assert matched > 3
    of_kinds = {len(surgery_of(entry.kind).parts(entry)): [] for entry in of_rounding}
    for entry, lost in of_rounding.items():
        if entry.kind.changes_weight:
            assert lost > 0
            of_kinds[len(surgery_of(entry.kind).parts(entry))].append(lost)
    assert np.mean(of_kinds[2]) > np.mean(of_kinds[1])
    assert all(one.loss > 0 for one in counted.dense[:-1])  # the classifier is not planned
    planning = solve_problem(counted)
    assert planning.plan.prediction is None
    assert not any("keeps its bits" in layer.reason for layer in planning.plan.layers)
    # By its own ruler no worse than the plan that knows nothing of rounding.
    other = {one.name: one.kind for one in solve_problem(plain).plan.layers}
    same = [
        [one.loss for one in (layer.dense, *layer.candidates) if one.entry.kind == other[layer.name]]
        for layer in counted.choices
    ]
    assert all(same)  # of what that plan chose, nothing was dropped here
    assert planning.solution.total(LOSS) <= sum(map(min, same)) + 1e-9


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (None, "count_rounding counts nothing, as no plain convolution has bits; give the network bits"),
        (1, "what rounding loses is predicted for 2 to 8 bits, and it has 1 of weights and 1 of inputs"),
    ],
)
def test_rounding_that_is_not_predicted_is_not_counted(model, digits, bits, words):
    with pytest.raises(InputError, match=words):
        planning_problem(
            model, digits, ARRAY, options=PlanningOptions(bits=bits, count_rounding=True, images=8)
        )
