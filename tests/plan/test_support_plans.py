"""Supports in plans: the text, what it must fit, and the uniform plans that share them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.random_plans import supported_layers
from rankfold.errors import InputError
from rankfold.lowrank import full_rank
from rankfold.mapping import ArraySpec
from rankfold.plan import (
    LayerPlan,
    LowRank,
    LowRankLayer,
    Plan,
    SharedSupport,
    SupportLayer,
    check_plan,
    mask_to_support,
    support_to_mask,
    support_to_text,
    text_to_support,
    uniform_plan,
)
from rankfold.workload import ConvShape, Network, zoo_network

ARRAY = ArraySpec(32, 32)


def test_the_text_of_a_support_is_that_of_the_docs():
    support = np.zeros((3, 9), bool)
    support[0, [0, 4]] = True
    support[1, :] = True
    assert support_to_text(support) == "11 1ff 0"
    shape = ConvShape("body", 3, 2, (3, 3), (8, 8))
    assert (text_to_support("11 1ff 0", shape) == support).all()


@given(supported_layers(), st.sampled_from([1, 3]))
@settings(max_examples=40)
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


def test_low_rank_plans_with_entries_say_so():
    network = zoo_network("wrn16-4")
    method = LowRank(groups=4, rank="1/32", pointwise=True, entries=4, fit=True, force=True)
    plan = uniform_plan(network, ARRAY, method, bits=4)
    check_plan(plan, network)
    sparse = [layer for layer in plan.layers if layer.kind.shares_support]
    whole = [layer for layer in plan.changed if not layer.kind.shares_support]
    assert sparse[0].kind == LowRankLayer(4, 2, entries=4)
    assert sparse[0].reason == "4 groups of rank 2, 4 of 9 positions"
    # Kernels of 1x1, of the shortcuts, have but one position.
    assert whole and all("positions" not in layer.reason for layer in whole)
    assert plan.digest() != uniform_plan(network, ARRAY, replace(method, entries=None), bits=4).digest()


def test_fit_takes_the_rank_that_the_positions_leave():
    network = zoo_network("resnet20")
    method = LowRank(groups=8, rank="1/2", entries=2, force=True)
    with pytest.raises(
        InputError,
        match=r"layer layer1\.0\.conv1: rank \(=8\) must be at most 4, the full rank with 8 groups and 2",
    ):
        uniform_plan(network, ARRAY, method)
    plan = uniform_plan(network, ARRAY, replace(method, fit=True))
    assert plan.layer("layer1.0.conv1").kind == LowRankLayer(8, 4, entries=2)
    check_plan(plan, network)
    assert full_rank(network.convolutions[1], 8) == 16


def test_supports_are_filled_into_a_plan(tmp_path):
    network = zoo_network("resnet8")
    plan = uniform_plan(network, ARRAY, SharedSupport(4), bits=4)
    check_plan(plan, network)
    text = " ".join(["f"] * 16)
    filled = plan.with_supports({"layer1.0.conv1": text})
    assert filled.layer("layer1.0.conv1").kind == SupportLayer(4, support=text)
    assert filled.layer("layer1.0.conv2") == plan.layer("layer1.0.conv2")
    filled.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == filled
    assert filled.digest() != plan.digest()
    with pytest.raises(InputError, match="a dense layer has no support"):
        plan.with_supports({"conv1": text})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"support": "1b " * 7 + "1b"}, r"layer body: support is for 8 input channels, the layer has 16"),
        (
            {"support": " ".join(["1b"] * 15 + ["21b"])},
            r"layer body: support number 21b means positions beyond the 9",
        ),
        ({"support": " ".join(["0"] * 16)}, "layer body: support must keep at least one position"),
        (
            {"support": " ".join(["3"] * 15 + ["f"]), "entries": 3},
            r"entries \(=3\) must be the most positions .*, 4",
        ),
        (
            {"entries": 9},
            r"layer body: entries \(=9\) must be (at least 1 and fewer than a kernel has|the most .*, 4$)",
        ),
    ],
)
@pytest.mark.parametrize(
    "kind", [LowRankLayer(2, 2, 4, " ".join(["1b"] * 16)), SupportLayer(4, support=" ".join(["1b"] * 16))]
)
def test_a_support_that_does_not_fit_its_layer_is_refused(kind, change, message):
    network = Network("one", (16, 8, 8), (ConvShape("body", 16, 16, (3, 3), (8, 8)),))
    check_plan(Plan("one", (16, 8, 8), ARRAY, (LayerPlan("body", kind),)), network)
    with pytest.raises(InputError, match=message):
        check_plan(Plan("one", (16, 8, 8), ARRAY, (LayerPlan("body", replace(kind, **change)),)), network)


def test_a_rank_above_what_the_positions_can_have_is_refused():
    network = Network("one", (16, 8, 8), (ConvShape("body", 16, 16, (3, 3), (8, 8)),))
    plan = Plan("one", (16, 8, 8), ARRAY, (LayerPlan("body", LowRankLayer(8, 16, 4, " ".join(["1b"] * 16))),))
    with pytest.raises(
        InputError,
        match=r"layer body: rank \(=16\) must be at most 8, the full rank with 8 groups and 4 positions",
    ):
        check_plan(plan, network)


@pytest.mark.parametrize("kind", [LowRankLayer(1, 2, entries=1), SupportLayer(1)])
def test_entries_of_a_fully_connected_layer_are_refused(kind):
    shape = ConvShape("head", 16, 10, (1, 1), (1, 1), kind="linear")
    plan = Plan("one", (16, 1, 1), ARRAY, (LayerPlan("head", kind),))
    with pytest.raises(InputError, match=r"layer head: entries .* it is a fully connected layer"):
        check_plan(plan, Network("one", (16, 1, 1), (shape,)))


def test_the_file_of_a_plan_refuses_what_is_no_support(tmp_path):
    plan = Plan("one", (16, 8, 8), ARRAY, (LayerPlan("body", LowRankLayer(1, 1, 1, "1 2")),))
    content = plan.to_json()
    assert Plan.from_json(content) == plan
    content["layers"][0]["support"] = "0x1b"
    (tmp_path / "plan.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"at layers/0/support: '0x1b' does not match"):
        Plan.load(tmp_path / "plan.json")
