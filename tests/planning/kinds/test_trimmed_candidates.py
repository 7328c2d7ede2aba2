"""Layers of fewer channels: which numbers are offered, what they lose, and what networks become."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from common.trained_net import digits, model, weights
from rankfold.mapping import ArraySpec
from rankfold.mapping.window_matrix import window_cycles, window_shape
from rankfold.plan import DenseLayer, Plan, TrimmedLayer
from rankfold.plan.channels import text_to_channels
from rankfold.planning import PlanningOptions, planning_problem, solve_problem
from rankfold.planning.channels import with_channels
from rankfold.planning.exact import CYCLES, Budget, Candidate
from rankfold.planning.exact.slots import LayerSlot, layer_slots
from rankfold.planning.exact.widths import BitChoices
from rankfold.planning.kinds.channel_counts import STEP, channel_counts, given_window
from rankfold.planning.problem import PlanningProblem
from rankfold.simulator import NonIdealities, simulate
from rankfold.simulator.network import simulated_layers
from rankfold.surgery.compress import compress_
from rankfold.surgery.kinds.kind import masked_positions
from rankfold.surgery.quantise import quantise_
from rankfold.training.data import ImageData
from rankfold.workload import trace, zoo_network

__all__ = ["digits", "model", "weights"]

ARRAY, IMAGES = ArraySpec(16, 16), 64
GIVES, READS = 1, 2  # the layers of the network that is trained on digits


def blocks(array: ArraySpec, kinds: frozenset[str] | None) -> list[tuple[LayerSlot, LayerSlot]]:
    """Both layers of a block of each stage of ResNet-20."""
    slots = {slot.name: replace(slot, kinds=kinds) for slot in layer_slots(zoo_network("resnet20"), array, 4)}
    return [(slots[f"layer{n}.1.conv1"], slots[f"layer{n}.1.conv2"]) for n in (1, 2, 3)]


@pytest.mark.parametrize("size", [32, 64, 128])
def test_numbers_of_channels_leave_room_for_more_pixels(size: int) -> None:
    array = ArraySpec(size, size)
    for given, read in blocks(array, None):
        counts = channel_counts(given, read)
        assert counts and list(counts) == sorted(set(counts), reverse=True)
        least = given.shape.output[0] * given.shape.output[1] * -(-given.shape.m // size)
        for count in counts:
            shape, window = replace(given.shape, out_channels=count), given_window(given, count)
            assert window is not None and 2 * count >= given.shape.m > count
            # Whole pixels fill the columns, in fewer cycles than any layer of all channels has.
            assert window_shape(shape, window).m <= size or window == (1, 1)
            cycles = window_cycles(shape, window, array, size)
            assert cycles < STEP * least
            least = min(least, cycles)


def test_numbers_of_channels_fill_row_tiles_where_no_windows_choose_rows() -> None:
    found = set()
    for given, read in blocks(ArraySpec(64, 64), frozenset({"trimmed"})):
        found |= set(channel_counts(given, read)) - set(channel_counts(given, replace(read, kinds=None)))
    # One channel more takes another tile of 64 rows.
    assert found and all(-(-count * 9 // 64) < -(-(count + 1) * 9 // 64) for count in found)


@pytest.fixture(scope="module")
def problem(model: nn.Module, digits: ImageData) -> PlanningProblem:
    budget = Budget(CYCLES, 0.3, share=True)
    return planning_problem(
        model, digits, ARRAY, budget, options=PlanningOptions(images=IMAGES, kinds=["trimmed", "window"])
    )


def test_what_is_not_read_need_not_be_given(problem: PlanningProblem) -> None:
    """Sets of channels are nested, and those of both layers are the same."""
    given = [one for one in problem.candidates[GIVES] if one.needs is not None]
    read = [one for one in problem.candidates[READS] if one.channels is not None]
    assert given and read
    for one in given:
        gives, need = _channels(one, "gives"), one.needs
        assert need is not None and need.layer == problem.choices[READS].name
        assert need.most == gives.sum() < len(gives)
        for other in read:
            reads = _channels(other, "reads")
            assert other.channels == reads.sum()
            assert (reads <= gives).all() == (other.channels <= need.most)
    assert all(one.reads > 0 for layer in problem.candidates for one in layer)


def _channels(one: Candidate, side: str) -> torch.Tensor:
    return torch.from_numpy(text_to_channels(getattr(one.entry.kind, side), 16))


def test_a_plan_with_fewer_channels_is_what_its_arrays_compute(
    problem: PlanningProblem, model: nn.Module, digits: ImageData
) -> None:
    planning = solve_problem(problem)
    gives, reads = (planning.plan.layers[number] for number in (GIVES, READS))
    assert isinstance(gives.kind, TrimmedLayer) and gives.kind.gives == reads.kind.reads
    assert f"in what {reads.name} reads" in gives.reason
    network = copy.deepcopy(model)
    compress_(network, planning.plan, digits, images=IMAGES)
    trimmed = network.get_submodule(gives.name)
    assert masked_positions(trimmed.inner.matrix) == gives.kind.support
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = network(images)
        trimmed.rest.copy_(torch.linspace(-9, 9, len(trimmed.rest)))  # nothing reads it
        torch.testing.assert_close(network(images), before)
    quantise_(network, planning.plan, [images])
    on_arrays = simulate(network, planning.plan, NonIdealities())
    for layer in simulated_layers(on_arrays):
        layer.all_tiles = True
    with torch.no_grad():
        torch.testing.assert_close(on_arrays(images), network(images), rtol=1e-4, atol=1e-5)


def test_in_chains_each_layer_goes_with_both_neighbours() -> None:
    chain = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(5)), nn.Flatten(), nn.LazyLinear(2))
    images = torch.randn(4, 4, 6, 6)
    chain(images)
    slots = with_channels(layer_slots(trace(chain, (4, 6, 6), "chain"), ArraySpec(8, 4)), chain, [images])
    readers = {slot.name: slot.given.reader for slot in slots if slot.given is not None}
    assert readers == {"1": "2", "2": "3", "3": "4"}  # the first one stays dense
    assert [slot.name for slot in slots if slot.read is not None] == ["2", "3", "4"]


def test_layers_with_other_bits_keep_their_channels(model: nn.Module, digits: ImageData) -> None:
    found = planning_problem(
        model,
        digits,
        ARRAY,
        options=PlanningOptions(images=16, kinds=["trimmed"], layer_bits=BitChoices((4,), (4, 8))),
    )
    kinds = {type(one.entry.kind) for layer in found.candidates for one in layer}
    assert kinds == {DenseLayer}


def test_one_layer_alone_loses_nothing_in_what_it_still_gives(problem: PlanningProblem) -> None:
    whole = [one for one in problem.candidates[GIVES] if one.needs and one.entry.kind.rows is None]
    assert whole and all(one.loss == 0 for one in whole)
    plan: Plan = problem.plan([*problem.dense[:GIVES], whole[0], *problem.dense[READS:]])
    assert plan.layers[GIVES].kind == whole[0].entry.kind
