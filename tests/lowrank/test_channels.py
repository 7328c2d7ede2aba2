"""The order in which a layer can do without its input channels."""

from __future__ import annotations

import numpy as np
import pytest

from rankfold.lowrank.channels import channel_order


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_channel_that_goes_is_the_cheapest_after_an_exact_refit(seed: int) -> None:
    """By least squares on the data themselves, of errors as they are weighed."""
    rng = np.random.default_rng(seed)
    weight, inputs = rng.normal(size=(3, 5, 2, 1)), rng.normal(size=(40, 10)) @ rng.normal(size=(10, 10))
    root = rng.normal(size=(3, 3)) + 3 * np.eye(3)
    wanted = inputs @ weight.reshape(3, -1).T @ root.T

    def lost(left: list[int]) -> float:
        columns = inputs.reshape(40, 5, 2)[:, left].reshape(40, -1)
        best, *_ = np.linalg.lstsq(columns, wanted, rcond=None)
        return float(np.square(wanted - columns @ best).sum())

    order = channel_order(weight, inputs.T @ inputs, root.T @ root)
    assert sorted(order) == list(range(5))
    for number in range(5, 1, -1):
        left = list(order[:number])
        errors = {one: lost([other for other in left if other != one]) for one in left}
        assert order[number - 1] == min(errors, key=errors.__getitem__)


def test_channels_that_stay_in_any_case_are_in_no_order() -> None:
    rng = np.random.default_rng(4)
    weight, inputs = rng.normal(size=(2, 6, 1, 2)), rng.normal(size=(50, 12))
    whole = channel_order(weight, inputs.T @ inputs, np.eye(2))
    left = channel_order(weight, inputs.T @ inputs, np.eye(2), fewest=4)
    assert left[4:] == whole[4:] and sorted(left[:4]) == sorted(whole[:4])


def test_wide_layers_lose_several_channels_in_a_step() -> None:
    """576 inputs for each row that goes at once: 4 of 1,152."""
    rng = np.random.default_rng(5)
    weight = rng.normal(size=(2, 576, 1, 2))
    scale = np.repeat(rng.permutation(576) + 1.0, 2)
    order = channel_order(weight, np.diag(scale), np.eye(2), fewest=570)
    costs = (np.square(weight).sum((0, 2)) * scale.reshape(576, 2).T[:, :, None].mean(0)).sum(1)
    # Of inputs that know nothing of each other each channel costs what it gives.
    assert sorted(order[570:]) == sorted(np.argsort(costs)[:6].tolist())
