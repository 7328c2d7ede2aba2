"""Epochs and budgets of steps: all are spent, budgets fall evenly to the last one, and mistakes are told."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold.errors import InputError
from rankfold.planning.annealing.schedule import step_epochs, step_limits, step_recipe
from rankfold.training.recipe import Recipe


@given(st.integers(1, 8), st.integers(0, 9))
def test_steps_of_an_epoch_each_leave_the_rest_to_the_last(steps, more):
    epochs = step_epochs(steps, steps + more)
    assert len(epochs) == steps and sum(epochs) == steps + more
    assert set(epochs[:-1]) <= {1} and epochs[-1] == 1 + more


def test_one_step_has_all_epochs_and_a_list_its_own():
    assert step_epochs(1, 0) == (0,)
    assert step_epochs([0, 1, 3], 4) == (0, 1, 3)


@pytest.mark.parametrize(
    ("steps", "epochs", "words"),
    [
        (4, 3, "4 steps need an epoch each, and there are 3 in all"),
        (0, 3, r"steps \(=0\) must be a number of 1 or more, or the epochs of each"),
        (True, 3, "must be a number of 1 or more"),
        ("2", 3, "must be a number of 1 or more"),
        ((), 0, "must be a number of 1 or more"),
        ((1, -1), 0, "must be whole numbers of 0 or more"),
        ((1, 1), 3, "the steps have 2 epochs together, and the recipe 3"),
    ],
)
def test_other_steps_are_refused(steps, epochs, words):
    with pytest.raises(InputError, match=words):
        step_epochs(steps, epochs)


@given(st.floats(1, 1e9), st.floats(1, 1e9), st.integers(1, 6))
def test_budgets_fall_by_equal_ratios_to_the_limit(dense, limit, steps):
    found = [step_limits({"cycles": dense}, {"cycles": limit}, one + 1, steps) for one in range(steps)]
    amounts = [max(dense, limit), *(one["cycles"] for one in found)]
    assert amounts[-1] == limit
    assert all(after <= before * (1 + 1e-12) for before, after in itertools.pairwise(amounts))
    ratios = [after / before for before, after in itertools.pairwise(amounts)]
    assert ratios == pytest.approx([ratios[0]] * steps)


def test_each_step_sees_the_images_in_an_order_of_its_own():
    recipe = Recipe(epochs=4, seed=7)
    assert step_recipe(recipe, 1, 4) == recipe
    seeds = {step_recipe(Recipe(seed=2**31 - 1), number, 1).seed for number in range(1, 30)}
    assert len(seeds) == 29 and all(0 <= seed < 2**31 for seed in seeds)
