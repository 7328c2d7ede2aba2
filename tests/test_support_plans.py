"""Supports in plans: the text, what it must fit, and the cycles that it means."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankfold.cost import network_cycles, planned_mapping
from rankfold.cost.energy import load_table, network_energy
from rankfold.errors import InputError
from rankfold.lowrank import full_rank
from rankfold.mapping import ArraySpec, map_low_rank, map_pruned
from rankfold.plan import (
    DENSE,
    LOW_RANK,
    PRUNED,
    SUPPORT,
    LayerPlan,
    Plan,
    check_plan,
    mask_to_support,
    pruned_plan,
    support_to_mask,
    support_to_text,
    text_to_support,
    uniform_plan,
)
from rankfold.workload import ConvShape, Network, zoo_network

ARRAY = ArraySpec(32, 32)


@st.composite
def supported_layers(draw):
    """A convolution with a kernel of several positions, and a support of it."""
    groups = draw(st.sampled_from([1, 1, 2]))
    kernel = draw(st.sampled_from([(3, 3), (1, 3), (5, 2)]))
    channels = groups * draw(st.sampled_from([2, 4, 6]))
    size = draw(st.tuples(st.integers(5, 9), st.integers(5, 9)))
    shape = ConvShape("body", channels, groups * draw(st.integers(2, 6)), kernel, size, groups=groups)
    seed, entries = draw(st.integers(0, 9999)), draw(st.integers(1, kernel[0] * kernel[1] - 1))
    order = np.random.default_rng(seed).random((channels, kernel[0] * kernel[1])).argsort(axis=1)
    return shape, order < entries, entries


def entry_of(shape, entries, support, groups=1, rank=1):
    return LayerPlan(shape.name, LOW_RANK, groups, rank, entries=entries, support=support_to_text(support))


def test_the_text_of_a_support_is_that_of_the_docs():
    support = np.zeros((3, 9), bool)
    support[0, [0, 4]] = True
    support[1, :] = True
    assert support_to_text(support) == "11 1ff 0"
    shape = ConvShape("body", 3, 2, (3, 3), (8, 8))
    assert (text_to_support("11 1ff 0", shape) == support).all()


@given(supported_layers(), st.sampled_from([1, 3]))
@settings(max_examples=40, deadline=None)
def test_texts_and_masks_give_the_support_back(case, rank):
    shape, support, _ = case
    assert (text_to_support(support_to_text(support), shape) == support).all()
    mask = support_to_mask(support, shape.m, shape.groups, shape.kernel)
    assert mask.shape == (shape.m, shape.in_channels // shape.groups, *shape.kernel)
    assert (mask_to_support(mask, shape.groups) == support).all()
    # R_ of two low-rank groups: each output of a block sees the positions of the block's channels.
    reduce = support_to_mask(support, shape.groups * 2 * rank, shape.groups * 2, shape.kernel)
    assert (mask_to_support(reduce, shape.groups * 2) == support).all()
    assert reduce.sum() == rank * support.sum()


@given(supported_layers(), st.sampled_from(["im2col", "sdk", "best"]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_planned_cycles_are_those_of_the_support(case, method, grouped):
    shape, support, entries = case
    groups = 2 if grouped else 1
    network = Network("one", (shape.in_channels, *shape.input), (shape,))
    pair = replace(entry_of(shape, entries, support, groups), mapping=method)
    plan = Plan("one", network.input, ARRAY, (pair,))
    check_plan(plan, network)
    costs = network_cycles(network, plan)
    expected = map_low_rank(shape, ARRAY, groups, 1, method, support)
    assert costs.chosen_cycles == expected.cycles == costs.total[f"low-rank-{method}"]
    assert costs.total["low-rank-shared"] == map_low_rank(shape, ARRAY, groups, 1, "sdk", support).shared_cycles
    assert costs.layers[0].parameters == int(support.sum()) + shape.m * groups
    assert costs.layers[0].to_json()["low_rank"]["entries"] == entries

    alone = LayerPlan(
        "body", PRUNED, pruning=SUPPORT, entries=entries, steering="plain", support=pair.support, mapping=method
    )  # fmt: skip
    plan = Plan("one", network.input, ARRAY, (alone,))
    check_plan(plan, network)
    mask = support_to_mask(support, shape.m, shape.groups, shape.kernel)
    expected = map_pruned(shape, ARRAY, mask, method)
    costs = network_cycles(network, plan)
    assert costs.chosen_cycles == expected.cycles == costs.total[f"pruned-{method}"]
    assert costs.layers[0].parameters == mask.sum()
    without = replace(plan, layers=(replace(alone, support=None),))
    assert network_cycles(network, without, masks={"body": mask}).total == costs.total


def test_a_mixed_plan_counts_each_layer_as_it_is_compressed():
    shapes = [ConvShape(name, 8, 8, (3, 3), (8, 8), padding=(1, 1, 1, 1)) for name in ("one", "two", "three")]
    network = Network("mixed", (8, 8, 8), tuple(shapes))
    text = " ".join(["1b"] * 8)
    layers = (
        LayerPlan("one", DENSE),
        LayerPlan("two", LOW_RANK, 2, 2, entries=4, support=text),
        LayerPlan("three", PRUNED, pruning=SUPPORT, entries=4, steering="plain", support=text),
    )
    plan = Plan("mixed", (8, 8, 8), ArraySpec(32, 16), layers)
    costs = network_cycles(network, plan)
    assert costs.chosen_cycles == costs.total["low-rank-sdk"] == costs.total["pruned-sdk"]
    assert costs.chosen_cycles < costs.total["sdk"]


def test_energy_is_that_of_the_rows_that_are_left():
    network = zoo_network("resnet8")
    table = load_table("rram-22nm")
    sparse = uniform_plan(network, ARRAY, 2, "1/4", 4, entries=4)
    texts = {layer.name: " ".join(["1b"] * network_channels(network, layer.name)) for layer in sparse.layers if layer.entries}
    sparse = sparse.with_supports(texts)
    found, without = (network_energy(network, plan, table) for plan in (sparse, uniform_plan(network, ARRAY, 2, "1/4", 4)))
    assert found.energy < without.energy
    free = network_energy(network, sparse, table, circuits=False)
    assert free.energy < found.energy  # a multiplexer at each row of the first stages


def network_channels(network, name):
    return next(shape.in_channels for shape in network.layers if shape.weight == name)


def test_uniform_plans_with_entries_say_so():
    network = zoo_network("wrn16-4")
    plan = uniform_plan(network, ARRAY, 4, "1/8", 4, pointwise=True, entries=4, fit=True)
    check_plan(plan, network)
    wide = next(layer for layer in plan.layers if layer.entries is not None)
    assert (wide.kind, wide.groups, wide.rank, wide.entries, wide.support) == (LOW_RANK, 4, 8, 4, None)
    assert wide.reason == "4 groups of rank 8, 4 of 9 positions"
    shortcuts = [layer for layer in plan.layers if layer.kind == LOW_RANK and layer.entries is None]
    assert shortcuts and all("positions" not in layer.reason for layer in shortcuts)  # 1x1 kernels have but one position
    assert plan.digest() != uniform_plan(network, ARRAY, 4, "1/8", 4, pointwise=True, fit=True).digest()


def test_fit_takes_the_rank_that_the_positions_leave():
    network = zoo_network("resnet20")
    with pytest.raises(
        InputError, match=r"layer layer1\.0\.conv1: rank \(=8\) must be at most 4, the full rank with 8 groups and 2"
    ):
        uniform_plan(network, ARRAY, 8, "1/2", entries=2)
    plan = uniform_plan(network, ARRAY, 8, "1/2", entries=2, fit=True)
    assert plan.layer("layer1.0.conv1").rank == 4
    check_plan(plan, network)
    assert full_rank(network.convolutions[1], 8) == 16


def test_a_plan_of_supports_has_the_layers_of_a_low_rank_one(tmp_path):
    network = zoo_network("resnet8")
    plan = pruned_plan(network, ARRAY, "support", 4, 4)
    check_plan(plan, network)
    chosen = {layer.name for layer in plan.layers if layer.kind == PRUNED}
    assert chosen == {layer.name for layer in uniform_plan(network, ARRAY, 2, "1/4").layers if layer.kind == LOW_RANK}
    layer = plan.layer("layer1.0.conv1")
    assert (layer.pruning, layer.entries, layer.steering, layer.reason) == (
        SUPPORT,
        4,
        "plain",
        "shared support, 4 of 9 positions",
    )
    filled = plan.with_supports({layer.name: " ".join(["f"] * network_channels(network, layer.name))})
    filled.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == filled
    assert filled.digest() != plan.digest()
    with pytest.raises(InputError, match=r"layer layer1\.0\.conv2 keeps 4 of 9 kernel positions, which are chosen on data"):
        network_cycles(network, filled)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"support": "1b " * 7 + "1b"}, r"layer body: support is for 8 input channels, the layer has 16"),
        ({"support": " ".join(["1b"] * 15 + ["21b"])}, r"layer body: support number 21b means positions beyond the 9"),
        ({"support": " ".join(["0"] * 16)}, "layer body: support must keep at least one position"),
        ({"support": " ".join(["3"] * 15 + ["f"]), "entries": 3}, r"entries \(=3\) must be the most positions .*, 4"),
        ({"entries": 9}, r"layer body: entries \(=9\) must be at least 1 and fewer than a kernel has positions; .* 9 positions"),
        ({"rank": 16, "groups": 8}, r"layer body: rank \(=16\) must be at most 8, the full rank with 8 groups and 4 positions"),
    ],
)
def test_a_support_that_does_not_fit_its_layer_is_refused(change, message):
    shape = ConvShape("body", 16, 16, (3, 3), (8, 8))
    network = Network("one", (16, 8, 8), (shape,))
    entry = LayerPlan("body", LOW_RANK, 2, 2, entries=4, support=" ".join(["1b"] * 16))
    check_plan(Plan("one", (16, 8, 8), ARRAY, (entry,)), network)
    with pytest.raises(InputError, match=message):
        check_plan(Plan("one", (16, 8, 8), ARRAY, (replace(entry, **change),)), network)


def test_entries_of_a_fully_connected_layer_are_refused():
    shape = ConvShape("head", 16, 10, (1, 1), (1, 1), kind="linear")
    plan = Plan("one", (16, 1, 1), ARRAY, (LayerPlan("head", LOW_RANK, 1, 2, entries=1),))
    with pytest.raises(InputError, match=r"layer head: entries .* it is a fully connected layer"):
        check_plan(plan, Network("one", (16, 1, 1), (shape,)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": DENSE, "entries": 4}, "only low-rank and pattern-pruned layers have entries, this one is dense"),
        ({"kind": LOW_RANK, "groups": 1, "rank": 1, "support": "1b"}, "only low-rank layers with entries, and pruning support"),
        (
            {"kind": PRUNED, "pruning": "pairs", "entries": 4, "steering": "plain", "support": "1b"},
            "only low-rank layers with entries, and pruning support, have a support",
        ),
        ({"kind": LOW_RANK, "groups": 1, "rank": 1, "entries": 4, "support": "1B  1b"}, "support must be hexadecimal numbers"),
        ({"kind": PRUNED, "pruning": "support", "steering": "plain"}, "a pattern-pruned layer needs entries"),
        ({"kind": LOW_RANK, "groups": 1, "rank": 1, "block": 4}, r"block \(=4\) must be 1 or more, and only pairs has one"),
    ],
)
def test_a_layer_cannot_say_what_its_kind_does_not_have(arguments, message):
    with pytest.raises(InputError, match=f"plan, layer body: .*{message}"):
        LayerPlan("body", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": None, "rank": None, "entries": 4}, r"entries \(=4\) needs a rank too"),
        ({"groups": 4, "rank": "1/8", "entries": 0}, r"entries \(=0\) must be 1 or more"),
        ({"groups": 4, "rank": "1/8", "entries": 9}, r"entries \(=9\) leave out nothing in resnet20: they must be fewer"),
    ],
)
def test_entries_that_no_plan_can_have(arguments, message):
    with pytest.raises(InputError, match=message):
        uniform_plan(zoo_network("resnet20"), ARRAY, **arguments)


def test_the_file_of_a_plan_refuses_what_is_no_support(tmp_path):
    plan = Plan("one", (16, 8, 8), ARRAY, (LayerPlan("body", LOW_RANK, 1, 1, entries=1, support="1 2"),))
    content = plan.to_json()
    assert Plan.from_json(content) == plan
    content["layers"][0]["support"] = "0x1b"
    (tmp_path / "plan.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"at layers/0/support: '0x1b' does not match"):
        Plan.load(tmp_path / "plan.json")


def test_cycles_wait_for_the_positions():
    network = zoo_network("resnet20")
    plan = uniform_plan(network, ARRAY, 4, "1/8", entries=4)
    shape = network.convolutions[1]
    message = (
        r"layer layer1\.0\.conv1 keeps 4 of 9 kernel positions, which are chosen on data: its cycles are known for a finished"
    )
    with pytest.raises(InputError, match=message):
        planned_mapping(shape, ARRAY, plan.layer(shape.weight))
    with pytest.raises(InputError, match=message):
        network_cycles(network, plan)
