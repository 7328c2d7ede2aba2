"""Mappings alone, chosen within budgets, without data."""

import itertools

import pytest

from rankfold.cost import network_cycles
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.planning import mapping_plan
from rankfold.planning.exact import ARRAYS, CYCLES, ENERGY, Budget, total
from rankfold.workload import zoo_network

ARRAY = ArraySpec(128, 128)


def test_fewest_cycles_within_arrays():
    """Fewer than the five methods have within as many arrays; a plan that `map` counts alike."""
    network = zoo_network("mobilenetv2")
    found = mapping_plan(network, ARRAY, Budget(ARRAYS, 1000))
    counted = network_cycles(network, found.plan, ())
    arrays = sum(layer.arrays for layer in counted.layers)
    assert (counted.chosen_cycles, arrays) == (found.solution.value, found.solution.total(ARRAYS))
    assert arrays <= 1000 and found.solution.gap == 0
    # What a choice among the methods comes down to.
    assert found.solution.value < 158_073
    assert {layer.kind.name for layer in found.plan.layers} == {"dense"}
    assert any("x" in layer.mapping for layer in found.plan.layers)


def test_the_least_energy_is_that_of_all_choices():
    network = zoo_network("resnet20")
    found = mapping_plan(network, ARRAY, Budget(ARRAYS, 0.9, share=True), objective="energy")
    assert any(len(layer.candidates) > 1 for layer in found.choices)
    # Energies add up, so that no exchange in a few layers within the same arrays is better.
    for layers in itertools.combinations(range(len(found.choices)), 2):
        own = [found.solution.chosen[layer] for layer in layers]
        for other in itertools.product(*(found.choices[layer].candidates for layer in layers)):
            if total(other, ARRAYS) <= total(own, ARRAYS):
                assert total(other, ENERGY) >= total(own, ENERGY) - 1e-6


@pytest.mark.parametrize(
    ("budgets", "objective", "words"),
    [
        ([Budget(ARRAYS, 3)], CYCLES, "no plan has at most 3 arrays: the fewest that these layers can reach"),
        ([], "time", r"objective \(=time\): the quantity must be one of cycles"),
        ([Budget(ARRAYS, 3), Budget(ARRAYS, 4)], CYCLES, "there are two budgets of arrays"),
    ],
)
def test_wrong_requests(budgets, objective, words):
    with pytest.raises(InputError, match=words):
        mapping_plan(zoo_network("resnet20"), ARRAY, *budgets, objective=objective)
