"""Uniform plans: one setting of a method for all layers, and the layers that stay as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.layer_sorts import ARRAY, every_sort, low_rank_plan
from rankfold.cost import network_cycles
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec, map_layer, map_low_rank
from rankfold.plan import (
    METHODS,
    ChannelPruning,
    DenseLayer,
    Garos,
    GarosLayer,
    LowRank,
    LowRankLayer,
    Pairs,
    Pairs2023,
    Pairs2023Layer,
    Pairs2024,
    Pairs2024Layer,
    PairsLayer,
    PatDNN,
    PatDNNByChannel,
    PatDNNByLayer,
    PatDNNChannelLayer,
    PatDNNLayer,
    PatDNNWholeLayer,
    Quantise,
    SharedSupport,
    SupportLayer,
    WindowLayer,
    Windows,
    check_plan,
    uniform_plan,
)
from rankfold.plan.methods import offered_methods
from rankfold.workload import ConvShape, Network, zoo_network

DENSE = DenseLayer()


def test_every_sort_of_layer_is_decided_for() -> None:
    plan = low_rank_plan()
    decided = [(layer.name, layer.kind, layer.weight_bits, layer.input_bits) for layer in plan.layers]
    assert decided == [
        ("stem", DENSE, 8, 8),
        ("body", LowRankLayer(2, 2), 4, 4),
        ("deep", DENSE, 4, 4),
        ("point", DENSE, 4, 4),
        # an eighth of the 16 output channels of each of its own 2 groups
        ("parts", LowRankLayer(2, 2), 4, 4),
        ("hidden", DENSE, 4, 4),
        ("head", DENSE, 8, 8),
    ]
    assert [layer.reason for layer in plan.layers] == [
        "first convolution",
        "2 groups of rank 2",
        "depthwise convolution: a matrix of one input channel",
        "1x1 convolution",
        "2 groups of rank 2",
        "fully connected layer",
        "classifier",
    ]
    assert (plan.model, plan.input, plan.array) == ("small", (3, 8, 8), ARRAY)


def test_pointwise_convolutions_only_when_asked() -> None:
    plan = uniform_plan(every_sort(), ARRAY, LowRank(groups=2, rank="1/8", pointwise=True, force=True))
    assert plan.layer("point").kind == LowRankLayer(2, 4)
    assert plan.layer("deep").kind == DENSE


def test_fully_connected_layers_only_when_asked() -> None:
    plan = uniform_plan(every_sort(), ARRAY, LowRank(rank=2, linear=True, force=True))
    assert plan.layer("hidden").kind == LowRankLayer(1, 2)
    assert plan.layer("head").kind == DENSE


def test_a_rank_alone_means_one_group() -> None:
    plan = uniform_plan(every_sort(), ARRAY, LowRank(rank=2, force=True))
    assert {layer.kind for layer in plan.changed} == {LowRankLayer(1, 2)}
    assert plan.layer("body").reason == "rank 2"


@pytest.mark.parametrize("method", [None, Quantise()])
def test_no_method_means_dense(method: Quantise | None) -> None:
    plan = uniform_plan(every_sort(), ARRAY, method, bits=5, mapping="vw-sdk")
    assert {layer.kind for layer in plan.layers} == {DENSE}
    assert [layer.weight_bits for layer in plan.layers] == [8, 5, 5, 5, 5, 5, 8]
    assert plan.layer("body").reason == "no rank given"
    assert {layer.mapping for layer in plan.layers} == {"vw-sdk"}


@pytest.mark.parametrize(
    ("setting", "bits", "message"),
    [
        ({"groups": 2, "rank": "1/8"}, 0, r"bits \(=0\) must be a whole number from 1 to 8"),
        ({"groups": 2, "rank": "1/8"}, 9, r"bits \(=9\) must be a whole number from 1 to 8"),
        (
            {"groups": 2, "rank": "1/3"},
            4,
            r"layer body: rank 1/3 of 16 output channels is not a whole number",
        ),
        ({"groups": 3, "rank": 2}, 4, r"layer body: groups \(=3\) must divide its 16 input channels"),
        ({"groups": 0, "rank": 2}, 4, r"groups \(=0\) must be 1 or more"),
        ({"groups": -2, "rank": 2, "fit": True}, 4, r"groups \(=-2\) must be 1 or more"),
        ({"groups": 2, "rank": 17}, 4, r"layer body: rank \(=17\) must lie between 1 and 16"),
        ({"groups": 2, "rank": 0}, 4, r"rank \(=0\) must be a whole number"),
        ({"groups": 2, "rank": "much"}, 4, r"rank \(=much\) must be a whole number"),
        ({"rank": 2, "entries": 0}, 4, r"entries \(=0\) must be 1 or more"),
        ({"rank": 2, "entries": 9}, 4, r"entries \(=9\) leave out nothing in small: they must be fewer"),
    ],
)
def test_a_low_rank_plan_that_cannot_be(setting: dict[str, Any], bits: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        uniform_plan(every_sort(), ARRAY, LowRank(**setting, force=True), bits=bits)


def test_a_network_without_a_layer_to_compress_is_refused() -> None:
    layers = (
        ConvShape("only", 3, 8, (3, 3), (8, 8)),
        ConvShape("head", 8, 10, (1, 1), (1, 1), kind="linear"),
    )
    with pytest.raises(
        InputError, match=r"no layer of tiny can be low-rank: only stays dense \(first convolution\)"
    ):
        uniform_plan(Network("tiny", (3, 8, 8), layers), ARRAY, LowRank(rank=2, force=True))


@given(st.integers(2, 8), st.sampled_from([1, 2, 4, 8]), st.sampled_from(["1/16", "1/8", "1/4", "2"]))
@settings(max_examples=20)
def test_uniform_plans_of_the_zoo_fit_their_networks(bits: int, groups: int, rank: str) -> None:
    for name in ("resnet20", "wrn16-4", "vgg9"):
        network = zoo_network(name)
        plan = uniform_plan(network, ARRAY, LowRank(groups=groups, rank=rank, force=True), bits=bits)
        check_plan(plan, network)
        assert (plan.layers[0].weight_bits, plan.layers[-1].weight_bits) == (8, 8)
        assert {layer.weight_bits for layer in plan.layers[1:-1]} == {bits}
        assert plan.changed
        for layer in plan.changed:
            assert isinstance(layer.kind, LowRankLayer) and layer.kind.groups == groups


def test_the_mapping_is_that_asked_for_where_the_kind_has_it() -> None:
    with pytest.raises(InputError, match=r"mapping \(=magic\) of a dense layer must be one of im2col"):
        uniform_plan(every_sort(), ARRAY, LowRank(rank=2, force=True), mapping="magic")
    best = uniform_plan(every_sort(), ARRAY, LowRank(rank=2, force=True), mapping="best")
    assert {layer.mapping for layer in best.layers} == {"best"}
    for method in (LowRank(rank=2, force=True), PatDNN(4)):
        plan = uniform_plan(every_sort(), ARRAY, method, mapping="vw-sdk")
        assert {layer.mapping for layer in plan.changed} == {"sdk"}
        assert {layer.mapping for layer in plan.layers if layer not in plan.changed} == {"vw-sdk"}


@pytest.mark.parametrize(
    ("method", "kind", "reason"),
    [
        (PatDNN(4), PatDNNLayer(4, "plain"), "PatDNN, 4 of 9 positions"),
        (PatDNN(4, "ideal"), PatDNNLayer(4, "ideal"), "PatDNN, 4 of 9 positions"),
        (Pairs(4, "ideal", 8), PairsLayer(4, "ideal", 8), "PAIRS (free), 4 of 9 positions"),
        (Pairs2023(4), Pairs2023Layer(4), "PAIRS 2023, 4 of 9 positions"),
        (Pairs2024(1, "ideal"), Pairs2024Layer(1, "ideal"), "PAIRS 2024, 1 of 9 positions"),
        (Garos(4), GarosLayer(4, side=3), "GAROS (exact), within the rows of 4 of 9 positions"),
        (PatDNNByChannel(3), PatDNNChannelLayer(3), "PatDNN by channel, 3 of 9 positions"),
        (PatDNNByLayer(2), PatDNNWholeLayer(2), "PatDNN by layer, 2 of 9 positions"),
        (SharedSupport(3), SupportLayer(3, "plain"), "shared support, 3 of 9 positions"),
    ],
    ids=str,
)
def test_a_pruned_plan_has_the_layers_of_a_low_rank_one(method: Any, kind: Any, reason: str) -> None:
    network = every_sort()
    plan, other = uniform_plan(network, ARRAY, method, bits=4), low_rank_plan()
    check_plan(plan, network)
    assert [layer.name for layer in plan.changed] == [layer.name for layer in other.changed]
    body = plan.layer("body")
    assert (body.kind, body.mapping, body.reason) == (kind, "sdk", reason)
    assert [layer.weight_bits for layer in plan.layers] == [layer.weight_bits for layer in other.layers]


def test_published_patterns_are_of_3x3_kernels() -> None:
    other = ConvShape("wide", 4, 4, (5, 5), (8, 8))
    kind, reason = Pairs2024(4).layer(other)
    assert (kind, reason) == (DenseLayer(), "PAIRS 2024 has patterns of 3x3 kernels only")
    with pytest.raises(InputError, match="layer wide: pairs-2024 has patterns of 3x3 kernels only"):
        Pairs2024Layer(4).check(other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PatDNN(0), r"entries \(=0\) must be 1 or more"),
        (lambda: PatDNN(4, "magic"), r"steering \(=magic\) must be plain or ideal"),
        (lambda: Pairs(4, "magic"), r"steering \(=magic\) must be plain or ideal"),
        (lambda: Pairs(4, "plain", 0), r"block \(=0\) must be 1 or more, and only pairs has one"),
        (
            lambda: Pairs2023(3),
            r"entries \(=3\) must be 8, 7, 6, 5, 4, 2 or 1: the published patterns keep so many of the 9",
        ),
        (lambda: Garos(4, windows_for="9"), r"windows_for \(=9\) must be rows x columns"),
        (lambda: GarosLayer(4, side=0), r"side \(=0\) must be 1 or more"),
        (lambda: SharedSupport(-1), r"entries \(=-1\) must be 1 or more"),
        (
            lambda: ChannelPruning(1.0),
            r"ratio \(=1.0\) must be the share of channels to remove, above 0 and below 1",
        ),
    ],
)
def test_a_setting_that_no_layer_can_have_is_refused_at_once(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("method", "bits", "message"),
    [
        (
            PatDNN(9),
            4,
            r"entries \(=9\) prune no layer of small: they must be fewer than a kernel has positions",
        ),
        (SharedSupport(9), 4, r"entries \(=9\) prune no layer of small: they must be fewer"),
        (PatDNN(4), 9, r"bits \(=9\) must be a whole number from 1 to 8"),
        (
            ChannelPruning(0.5),
            4,
            r"channel pruning looks at the network's weights; .*channel_plan\(model, \.\.\.\)",
        ),
    ],
    ids=str,
)
def test_a_plan_that_cannot_be_made(method: Any, bits: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        uniform_plan(every_sort(), ARRAY, method, bits=bits)


@pytest.mark.parametrize("method", [PatDNN(4), Pairs(4), SharedSupport(4)], ids=str)
def test_where_all_that_could_be_pruned_stays_dense_that_is_told(method: Any) -> None:
    first = ConvShape("first", 3, 8, (3, 3), (8, 8), padding=(1, 1, 1, 1))
    network = Network("small", (3, 8, 8), (first, ConvShape("second", 8, 8, (1, 1), (8, 8))))
    message = (
        r"entries \(=4\) prune no layer of small: what has kernels of more positions \(first\) stays dense"
    )
    with pytest.raises(InputError, match=message):
        uniform_plan(network, ARRAY, method, bits=4)


def test_methods_are_known_by_the_names_of_the_command_line() -> None:
    assert list(METHODS) == [
        "low-rank",
        "patdnn",
        "patdnn-channel",
        "patdnn-layer",
        "pairs",
        "pairs-2023",
        "pairs-2024",
        "garos",
        "support",
        "quantise",
        "channel",
        "window",
        "window-low-rank",
        "planned",
    ]
    # A plan takes weights and images, which only grids give it.
    assert [*offered_methods(), "planned"] == list(METHODS)
    assert all(method.name == name for name, method in METHODS.items())


def test_fit_takes_the_next_lower_groups_and_rank() -> None:
    network = zoo_network("resnet18", image=(3, 32, 32))
    with pytest.raises(
        InputError,
        match=r"rank 1/7 of 64 output channels is not a whole number; .* fit=True for",
    ):
        uniform_plan(network, ARRAY, LowRank(groups=3, rank="1/7", force=True))
    plan = uniform_plan(network, ARRAY, LowRank(groups=3, rank="1/7", fit=True, force=True))
    assert plan.layer("layer1.0.conv1").kind == LowRankLayer(2, 9)
    assert plan.layer("layer4.1.conv2").kind == LowRankLayer(2, 73)
    check_plan(plan, network)
    # Ranks above full rank come down to it: 4 groups of 16 inputs of a 1x1 convolution. That saves nothing.
    method = LowRank(groups=4, rank=100, pointwise=True, fit=True, force=True)
    plan = uniform_plan(network, ARRAY, method)
    assert plan.layer("layer2.0.downsample.0").kind == LowRankLayer(4, 16)
    plan = uniform_plan(network, ArraySpec(64, 64), replace(method, rank=60, force=False))
    layer = plan.layer("layer2.0.downsample.0")
    assert layer.kind == DenseLayer()
    assert layer.reason == (
        "low-rank saves nothing (4 groups of rank 16: 9,216 stored numbers instead of 8,192)"
    )


def test_fit_raises_no_rank_to_full():
    """An eighth of four outputs is less than one, and one is all the rank that a single input has."""
    single = ConvShape("single", 4, 8, (1, 1), (8, 8), groups=4)
    pair = LowRank(rank="1/8", groups=1, fit=True, force=True)
    assert pair.layer(single) == (DenseLayer(), "rank 1/8 is below 1 in it, and 1 is its full rank")
    wide = ConvShape("wide", 4, 4, (3, 3), (8, 8))
    assert pair.layer(wide)[0] == LowRankLayer(1, 1)


@given(
    groups=st.sampled_from([1, 2, 4]),
    rank=st.sampled_from(["1/2", "1/4", "1/8", 3, 20]),
    side=st.sampled_from([16, 64, 128]),
    mapping=st.sampled_from(["im2col", "sdk", "vw-sdk"]),
    sparse=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_no_layer_is_worse_off_than_dense(groups, rank, side, mapping, sparse):
    """Counted by the costs of finished plans, not by what decides about layers."""
    network = zoo_network("resnet20")
    entries = None
    if sparse:
        entries = 4
    method = LowRank(groups=groups, rank=rank, entries=entries, pointwise=True, linear=True, fit=True)
    array = ArraySpec(side, side)
    forced = uniform_plan(network, array, replace(method, force=True), mapping=mapping)
    try:
        plan = uniform_plan(network, array, method, mapping=mapping)
    except InputError as error:
        assert "low-rank saves nothing" in str(error) and "force=True" in str(error)
        plan = uniform_plan(network, array, mapping=mapping)
    shapes = {layer.weight: layer for layer in network.layers}
    dense = uniform_plan(network, array, mapping=mapping)
    for layer in forced.changed:
        kept = plan.layer(layer.name).kind
        assert kept in (layer.kind, DenseLayer())
        alone = Network(layer.name, network.input, (shapes[layer.name],))
        before = costed(alone, replace(dense, layers=(dense.layer(layer.name),)))
        if sparse:
            # Which positions are kept is known on data, and how many is known before.
            pair = layer.kind
            stored = pair.rank * (alone.layers[0].in_channels * entries + alone.layers[0].m * pair.groups)
            if alone.layers[0].kernel == (3, 3):
                assert (kept == layer.kind) == (stored < before[0])
            continue
        after = costed(alone, replace(forced, layers=(layer,)))
        saves = after[0] < before[0] and after[1] <= before[1]
        assert (kept == layer.kind) == saves, (layer.name, before, after)


def costed(network, plan):
    """Stored numbers and cycles of a network of one layer."""
    (layer,) = network_cycles(network, plan, linear=True).layers
    return layer.parameters, layer.chosen_cycles


def test_numbers_are_saved_below_a_known_rank():
    """m n / (m + n), for one group."""
    shape = ConvShape("only", 6, 10, (3, 3), (8, 8), padding=(1, 1, 1, 1))
    edge = shape.m * shape.n / (shape.m + shape.n)
    for rank in range(1, 11):
        worse = LowRankLayer(1, rank).worse_than_dense([shape], ArraySpec(4096, 4096), "im2col")
        assert ("stored numbers" in worse) == (rank >= edge)


def test_all_runs_of_a_layer_count():
    """Where one run saves as many cycles as another one loses, the pair stays."""
    array = ArraySpec(64, 64)
    large = ConvShape("conv", 64, 64, (3, 3), (32, 32), padding=(1, 1, 1, 1))
    small = replace(large, name="conv#2", weight="conv", input=(1, 1))
    pair = LowRankLayer(4, 8)
    each = [pair.worse_than_dense([run], array, "sdk") for run in (large, small)]
    both = pair.worse_than_dense([large, small], array, "sdk")
    cycles = [
        map_layer(run, array, "sdk").cycles - map_low_rank(run, array, 4, 8, "sdk").cycles
        for run in (large, small)
    ]
    assert [bool(text) for text in each] == [saved < 0 for saved in cycles]
    assert bool(both) == (sum(cycles) < 0)


def test_windows_that_save_nothing_are_taken_only_where_they_are_asked_for() -> None:
    # Wide layers on small arrays: one pixel and all of its inputs, or zeros that SDK would not store.
    network = zoo_network("resnet8")
    chosen = {layer.name: layer for layer in uniform_plan(network, ARRAY, Windows(row_tiles=99)).layers}
    last = chosen["layer3.0.conv2"]
    assert (
        last.kind == DENSE
        and last.reason == "a window of one pixel and all of its inputs is the layer as it is"
    )
    forced = uniform_plan(network, ARRAY, Windows(row_tiles=99, window=(2, 2)))
    assert forced.layer("layer3.0.conv2").kind == WindowLayer((2, 2))
    for mapping in ("im2col", "best"):
        plan = uniform_plan(network, ArraySpec(64, 64), Windows(row_tiles=5), mapping=mapping)
        planned = network_cycles(network, plan)
        dense = network_cycles(network, uniform_plan(network, ArraySpec(64, 64), bits=8, mapping=mapping))
        assert any(isinstance(layer.kind, WindowLayer) for layer in plan.layers)
        for ours, theirs in zip(planned.layers, dense.layers, strict=True):
            assert ours.chosen.cycles <= theirs.chosen.cycles
