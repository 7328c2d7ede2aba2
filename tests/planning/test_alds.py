"""The allocation of ALDS: its errors are those of the weights, and no choice has a smaller largest one."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rankfold.cost import network_cycles
from rankfold.errors import InputError
from rankfold.lowrank import decompose, full_rank
from rankfold.lowrank.factors import reconstruct
from rankfold.mapping import ArraySpec, map_layer, map_low_rank
from rankfold.plan import DenseLayer, LayerPlan, check_plan
from rankfold.planning import alds_plan
from rankfold.planning.alds import LayerSetting, least_largest_error, relative_errors
from rankfold.planning.exact import Budget
from rankfold.surgery.compress import compress_
from rankfold.workload import trace

ARRAY = ArraySpec(8, 8)


def small():
    """Four convolutions, of which the second and third may be compressed; the last classifies."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3, padding=1, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(4, 3, 1),
        nn.Flatten(),
    )


def errors_of_the_residual(weight, conv_groups, groups, rank):
    """Largest singular value of what each block loses, over that of the whole weight; a group at a time."""
    outputs = len(weight) // conv_groups
    kept = reconstruct(decompose(weight, conv_groups, groups, rank), conv_groups, groups)
    whole, lost = [], []
    for first in range(0, len(weight), outputs):
        rows = slice(first, first + outputs)
        whole.append(np.linalg.norm(weight[rows].reshape(outputs, -1), 2))
        for block in np.split((weight - kept)[rows], groups, axis=1):
            lost.append(np.linalg.norm(block.reshape(outputs, -1), 2))
    return max(lost) / max(whole)


@pytest.mark.parametrize(("conv_groups", "groups"), [(1, 1), (1, 4), (2, 2)])
def test_errors_are_those_of_truncated_blocks(conv_groups, groups):
    weight = np.random.default_rng(0).standard_normal((4, 4, 2, 2))
    errors = relative_errors(weight, conv_groups, groups)
    assert len(errors) == min(4 // conv_groups, 16 // groups)
    for rank, error in enumerate(errors, start=1):
        assert error == pytest.approx(errors_of_the_residual(weight, conv_groups, groups, rank), abs=1e-12)
    assert (relative_errors(0 * weight, conv_groups, groups) == 0).all()


SETTINGS = st.lists(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 6)), min_size=1, max_size=4), min_size=1, max_size=4
)


@given(SETTINGS, st.integers(1, 30))
def test_no_choice_has_a_smaller_largest_error(options, limit):
    settings = []
    for layer in options:
        settings.append(
            [LayerSetting(LayerPlan("a", DenseLayer()), cycles, error) for cycles, error in layer]
        )
    within = []
    for choice in product(*options):
        if sum(cycles for cycles, _ in choice) <= limit:
            within.append(max(error for _, error in choice))
    if not within:
        least = sum(min(cycles for cycles, _ in layer) for layer in options)
        with pytest.raises(
            InputError, match=f"need {limit} cycles or fewer; the least that any need is {least}"
        ):
            least_largest_error(settings, limit)
        return
    chosen = least_largest_error(settings, limit)
    assert max(setting.error for setting in chosen) == min(within)
    assert sum(setting.cycles for setting in chosen) <= limit


@pytest.mark.parametrize("share", ["95%", "80%", "72%"])
def test_a_network_gets_the_best_of_all_groups_and_ranks(share):
    model = small()
    network = trace(model, (1, 6, 6), "small")
    found = alds_plan(model, network, ARRAY, Budget.parse("cycles", share))
    dense = sum(map_layer(shape, ARRAY, "best").cycles for shape in network.convolutions)
    assert found.dense_cycles == dense
    fixed, layers = 0, []
    for shape in network.convolutions:
        cycles = map_layer(shape, ARRAY, "best").cycles
        if shape.name not in ("2", "4"):
            fixed += cycles
            continue
        weight = model.get_submodule(shape.name).weight.detach().double().numpy()
        layer = [(cycles, 0.0)]
        for groups in range(1, weight.shape[1] + 1):
            if weight.shape[1] % groups:
                continue
            for rank in range(1, full_rank(shape, groups) + 1):
                error = errors_of_the_residual(weight, shape.groups, groups, rank)
                layer.append((map_low_rank(shape, ARRAY, groups, rank, "sdk").cycles, error))
        layers.append(layer)
    best = min(
        max(error for _, error in choice)
        for choice in product(*layers)
        if fixed + sum(cycles for cycles, _ in choice) <= found.budget
    )
    assert found.error == pytest.approx(best, abs=1e-12)
    assert found.cycles <= found.budget
    check_plan(found.plan, network)
    assert network_cycles(network, found.plan).chosen_cycles == found.cycles
    assert found.plan.changed
    compress_(model, found.plan)
    for layer in found.plan.changed:
        assert layer.reason.startswith("ALDS: relative error 0.")


def test_what_alds_cannot_keep_is_refused():
    model = small()
    network = trace(model, (1, 6, 6), "small")
    with pytest.raises(InputError, match="the allocation of ALDS keeps a budget of cycles, not of arrays"):
        alds_plan(model, network, ARRAY, Budget.parse("arrays", "50%"))
    with pytest.raises(InputError, match=r"mapping of low-rank pairs \(=vw-sdk\) must be one of im2col, sdk"):
        alds_plan(model, network, ARRAY, Budget.parse("cycles", "50%"), mapping="vw-sdk")
    with pytest.raises(
        InputError, match="no groups and ranks need 1 cycles or fewer; the least that any need"
    ):
        alds_plan(model, network, ARRAY, Budget.parse("cycles", "1"))
