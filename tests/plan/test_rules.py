"""Rules that choose layers by name or pattern, and what they change in uniform plans."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import DenseLayer, LayerRule, LowRank, LowRankLayer, check_plan, match_rules, uniform_plan
from rankfold.workload import zoo_network

ARRAY = ArraySpec(32, 32)
NAMES = ["stem", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "fc"]


def include(pattern: str) -> LayerRule:
    return LayerRule(pattern, True)


def exclude(pattern: str) -> LayerRule:
    return LayerRule(pattern, False)


def test_exact_names_go_before_patterns_and_the_first_pattern_decides() -> None:
    rules = [exclude("layer1.*"), include("*.conv1"), include("layer1.0.conv2")]
    matched = match_rules(rules, NAMES)
    assert {name: match.rule.include for name, match in matched.items()} == {
        "layer1.0.conv1": False,
        "layer1.0.conv2": True,
        "layer2.0.conv1": True,
    }
    assert [name for name, match in matched.items() if match.exact] == ["layer1.0.conv2"]


@given(st.permutations([exclude("layer1.*"), include("*.conv1"), exclude("fc")]), st.sampled_from(NAMES))
def test_an_exact_name_wins_in_any_order(rules: list[LayerRule], name: str) -> None:
    for verb in (include, exclude):
        if LayerRule(name, not verb(name).include) not in rules:
            assert match_rules([*rules, verb(name)], NAMES)[name].rule == verb(name)


def test_rules_that_say_nothing_clear_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"exclude rule conv9\* matches no layer; the first ones are stem, layer1.0.conv1"
    ):
        match_rules([exclude("conv9*")], NAMES)
    with pytest.raises(InputError, match="layer fc is both included and excluded; keep one of the two rules"):
        match_rules([exclude("fc"), include("fc")], NAMES)


def test_rules_that_leave_no_plan_are_refused() -> None:
    network = zoo_network("mobilenetv2")
    depthwise = LowRank(rank=2, include_exclude=(include("features.1.conv.0.0"),))
    with pytest.raises(
        InputError, match=r"include rule features.1.conv.0.0: the layer cannot be low-rank: depthwise"
    ):
        uniform_plan(network, ARRAY, depthwise)
    nothing = LowRank(rank=2, pointwise=True, include_exclude=(exclude("*"),))
    with pytest.raises(InputError, match="no layer of mobilenetv2 can be low-rank"):
        uniform_plan(network, ARRAY, nothing)


def test_rules_go_before_the_defaults() -> None:
    network = zoo_network("resnet20")
    rules = (include("conv1"), include("fc"), exclude("layer3.*"))
    plan = uniform_plan(network, ARRAY, LowRank(rank=2, include_exclude=rules, force=True), bits=4)
    decided = {layer.name: (layer.kind, layer.reason, layer.weight_bits) for layer in plan.layers}
    assert decided["conv1"] == (LowRankLayer(1, 2), "rank 2", 8)
    assert decided["fc"] == (LowRankLayer(1, 2), "rank 2", 8)
    assert decided["layer3.0.conv1"] == (DenseLayer(), "excluded by layer3.*", 4)
    assert decided["layer2.0.conv1"][0] == LowRankLayer(1, 2)
    check_plan(plan, network)
