"""Plans: the file, its schema, what a plan must fit, and the uniform plan."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rankfold.plan
from rankfold.errors import InputError
from rankfold.mapping import LOW_RANK_METHODS, ArraySpec
from rankfold.mapping.layer import METHODS
from rankfold.plan import (
    DENSE,
    LOW_RANK,
    NARROWED,
    PRUNED,
    LayerPlan,
    Plan,
    check_plan,
    pruned_plan,
    uniform_plan,
    weights,
)
from rankfold.pruning import PRUNINGS
from rankfold.workload import ConvShape, Network, zoo_network

ARRAY = ArraySpec(64, 32)


def small_network() -> Network:
    """A network with one layer of every sort that the uniform plan treats in its own way, one of them run twice."""
    return Network(
        "small", (3, 8, 8),
        (
            ConvShape("stem", 3, 16, (3, 3), (8, 8), padding=(1, 1, 1, 1)),
            ConvShape("body", 16, 16, (3, 3), (8, 8), padding=(1, 1, 1, 1)),
            ConvShape("body#2", 16, 16, (3, 3), (4, 4), padding=(1, 1, 1, 1), weight="body"),
            ConvShape("deep", 16, 16, (3, 3), (4, 4), padding=(1, 1, 1, 1), groups=16),
            ConvShape("point", 16, 32, (1, 1), (4, 4)),
            ConvShape("parts", 32, 32, (3, 3), (4, 4), padding=(1, 1, 1, 1), groups=2),
            ConvShape("hidden", 32, 32, (1, 1), (1, 1), kind="linear"),
            ConvShape("head", 32, 10, (1, 1), (1, 1), kind="linear"),
        ),
    )  # fmt: skip


def small_plan() -> Plan:
    return uniform_plan(small_network(), ARRAY, 2, "1/8", 4)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
BITS = st.none() | st.integers(1, 8)
COUNTS = st.integers(1, 512)
CHOICES = {
    DENSE: {},
    LOW_RANK: {"groups": COUNTS, "rank": COUNTS},
    PRUNED: {"pruning": st.sampled_from(PRUNINGS), "entries": COUNTS, "steering": st.sampled_from(["plain", "ideal"])},
    NARROWED: {"in_channels": COUNTS, "out_channels": COUNTS},
}


@st.composite
def layer_plans(draw: st.DrawFn) -> LayerPlan:
    kind = draw(st.sampled_from(list(CHOICES)))
    choices = {name: draw(values) for name, values in CHOICES[kind].items()}
    if choices.get("pruning") == "pairs":
        choices["block"] = draw(st.none() | COUNTS)
    weight_bits = draw(BITS)
    return LayerPlan(
        draw(WORDS),
        kind,
        mapping=draw(st.sampled_from(LOW_RANK_METHODS if kind in (LOW_RANK, PRUNED) else METHODS)),
        weight_bits=weight_bits,
        input_bits=None if weight_bits is None else draw(st.integers(1, 8)),
        input_signed=draw(st.none() | st.booleans()),
        reason=draw(st.just("") | WORDS),
        **choices,
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    size = st.integers(1, 300)
    layers = draw(st.lists(layer_plans(), min_size=1, max_size=4))
    return Plan(draw(WORDS), draw(st.tuples(size, size, size)), ArraySpec(draw(size), draw(size)), tuple(layers))


@given(plan=plans())
@settings(max_examples=60, deadline=None)
def test_a_saved_plan_is_loaded_as_it_was(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> None:
    path = tmp_path_factory.getbasetemp() / "plan.json"
    plan.save(path)
    assert Plan.load(path) == plan
    assert Plan.load(path).digest() == plan.digest()
    assert json.loads(path.read_text(encoding="utf-8")) == plan.to_json()


def test_a_plan_file_has_one_layer_a_line_and_no_empty_entries(tmp_path: Path) -> None:
    small_plan().save(tmp_path / "plan.json")
    lines = (tmp_path / "plan.json").read_text().splitlines()
    entries = [json.loads(line.strip().rstrip(",")) for line in lines if line.startswith("    {")]
    assert [entry["name"] for entry in entries] == ["stem", "body", "deep", "point", "parts", "hidden", "head"]
    assert all(None not in entry.values() and "" not in entry.values() for entry in entries)


@given(plan=plans(), words=st.lists(WORDS, min_size=4, max_size=4))
@settings(max_examples=30, deadline=None)
def test_the_digest_ignores_reasons(plan: Plan, words: list[str]) -> None:
    other = replace(plan, layers=tuple(replace(layer, reason=word) for layer, word in zip(plan.layers, words, strict=False)))
    assert other.digest() == plan.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"rank": 3}, {"groups": 4}, {"mapping": "im2col"}, {"weight_bits": 5}, {"input_bits": 5}, {"input_signed": True},
        {"input_signed": False}, {"name": "other"}, {"kind": DENSE, "groups": None, "rank": None},
    ],
)  # fmt: skip
def test_the_digest_sees_every_decision(change: dict[str, Any]) -> None:
    plan = small_plan()
    layers = tuple(replace(layer, **change) if layer.name == "body" else layer for layer in plan.layers)
    assert replace(plan, layers=layers).digest() != plan.digest()


@pytest.mark.parametrize(
    "change", [{"model": "x"}, {"input": (1, 8, 8)}, {"array": ArraySpec(32, 64)}, {"array": replace(ARRAY, dac_bits=1)}]
)
def test_the_digest_sees_what_it_was_planned_for(change: dict[str, Any]) -> None:
    assert replace(small_plan(), **change).digest() != small_plan().digest()


def edited(*path: Any, value: Any) -> Any:
    """The content of a plan with one place replaced (or removed, for `...`)."""
    content = copy.deepcopy(small_plan().to_json())
    place = content
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return content


@pytest.mark.parametrize(
    "content, message",
    [
        ([], "at top level: .* is not of type 'object'"),
        (edited("model", value=...), "at top level: 'model' is a required property"),
        (edited("comment", value="x"), "at top level: Additional properties .*'comment'"),
        (edited("_type", value="other"), "at _type: 'rankfold.plan' was expected"),
        (edited("_version", value=2), "at _version: 1 was expected"),
        (edited("model", value=""), "at model: "),
        (edited("input", value=[3, 8]), "at input: "),
        (edited("input", 2, value=0), "at input/2: 0 is less than the minimum of 1"),
        (edited("array", 0, value="64"), "at array/0: '64' is not of type 'integer'"),
        (edited("layers", value=[]), "at layers: "),
        (edited("layers", 1, "name", value=...), "at layers/1: 'name' is a required property"),
        (edited("layers", 1, "kind", value="tucker"), "at layers/1/kind: 'tucker' is not one of"),
        (edited("layers", 1, "rank", value=0), "at layers/1/rank: 0 is less than the minimum of 1"),
        (edited("layers", 1, "rank", value=2.5), "at layers/1/rank: 2.5 is not of type 'integer'"),
        (edited("layers", 2, "weight_bits", value=9), "at layers/2/weight_bits: 9 is greater than the maximum of 8"),
        (edited("layers", 2, "input_bits", value=0), "at layers/2/input_bits: 0 is less than the minimum of 1"),
        (edited("layers", 0, "mapping", value="magic"), "at layers/0/mapping: 'magic' is not one of"),
        (edited("layers", 0, "input_signed", value="no"), "at layers/0/input_signed: 'no' is not of type 'boolean'"),
        (edited("layers", 0, "bits", value=4), "at layers/0: Additional properties .*'bits'"),
        (edited("layers", 1, "rank", value=...), "layer body: a low-rank layer needs rank"),
        (edited("layers", 1, "kind", value="dense"), "layer body: only a low-rank layer has groups, this one is dense"),
        (edited("layers", 1, "input_bits", value=...), "layer body: give weight_bits and input_bits, or neither"),
    ],
)
def test_a_bad_plan_file_names_the_place(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        Plan.load(path)


def test_files_that_are_no_plans(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        Plan.load(tmp_path / "gone.json")
    (tmp_path / "plan.json").write_text('{"model": ')
    with pytest.raises(InputError, match="is not valid JSON"):
        Plan.load(tmp_path / "plan.json")


def test_a_layer_of_unknown_kind_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"plan, layer a: kind \(=cp\) must be dense, low-rank, pattern-pruned or channel-pruned"
    ):
        LayerPlan("a", "cp")


def test_lookup_quantised_and_signs() -> None:
    plan = small_plan()
    assert plan.layer("point").reason == "1x1 convolution"
    assert plan.quantised
    assert not uniform_plan(small_network(), ARRAY, 2, 4).quantised
    first = plan.with_signs({"stem": True, "body": False, "unknown": True})
    assert [layer.input_signed for layer in first.layers[:3]] == [True, False, None]
    # What is already settled stays.
    second = first.with_signs({layer.name: True for layer in plan.layers})
    assert [layer.input_signed for layer in second.layers[:3]] == [True, False, True]


def test_a_fitting_plan_is_accepted() -> None:
    check_plan(small_plan(), small_network())
    network = zoo_network("resnet20")
    check_plan(uniform_plan(network, ARRAY, 4, "1/8", 4), network)


def with_layer(chosen: str, **change: Any) -> Plan:
    plan = small_plan()
    return replace(plan, layers=tuple(replace(layer, **change) if layer.name == chosen else layer for layer in plan.layers))


@pytest.mark.parametrize(
    "plan, message",
    [
        (uniform_plan(zoo_network("resnet8"), ARRAY), r"another network \(resnet8, not small\): layer stem .* is missing"),
        (replace(small_plan(), layers=(*small_plan().layers, LayerPlan("odd", DENSE))), "the network has no layer odd"),
        (with_layer("body", name="body#2"), "layer body of the network is missing"),
        (replace(small_plan(), layers=(*small_plan().layers, small_plan().layers[1])), "names layer body twice; keep one entry"),
        (replace(small_plan(), layers=small_plan().layers[:-1]), "layer head of the network is missing"),
        (replace(small_plan(), input=(3, 16, 16)), r"the plan is for images of \(3, 16, 16\) .* the network gets \(3, 8, 8\)"),
        (with_layer("body", rank=17), r"layer body: rank \(=17\) must lie between 1 and 16, the full rank with 2 groups"),
        (with_layer("parts", rank=17), r"layer parts: rank \(=17\) must lie between 1 and 16"),
        (with_layer("body", groups=3), r"layer body: groups \(=3\) must divide its 16 input channels; use one of 1, 2, 4, 8, 16"),
        (with_layer("hidden", kind=LOW_RANK, groups=1, rank=99), r"layer hidden: rank \(=99\) must lie between 1 and"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(plan: Plan, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_plan(plan, small_network())


def test_the_uniform_plan_decides_for_every_sort_of_layer() -> None:
    plan = small_plan()
    found = [(layer.name, layer.kind, layer.groups, layer.rank, layer.weight_bits, layer.input_bits) for layer in plan.layers]
    assert found == [
        ("stem", DENSE, None, None, 8, 8),
        ("body", LOW_RANK, 2, 2, 4, 4),
        ("deep", DENSE, None, None, 4, 4),
        ("point", DENSE, None, None, 4, 4),
        ("parts", LOW_RANK, 2, 2, 4, 4),  # an eighth of the 16 output channels of each of its own 2 groups
        ("hidden", DENSE, None, None, 4, 4),
        ("head", DENSE, None, None, 8, 8),
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
    plan = uniform_plan(small_network(), ARRAY, 2, "1/8", pointwise=True)
    assert (plan.layer("point").kind, plan.layer("point").rank) == (LOW_RANK, 4)
    assert plan.layer("deep").kind == DENSE


def test_a_rank_alone_means_one_group_and_no_rank_means_dense() -> None:
    assert {layer.groups for layer in uniform_plan(small_network(), ARRAY, rank=2).layers} == {None, 1}
    dense = uniform_plan(small_network(), ARRAY, bits=5, mapping="vw-sdk")
    assert {layer.kind for layer in dense.layers} == {DENSE}
    assert [layer.weight_bits for layer in dense.layers] == [8, 5, 5, 5, 5, 5, 8]
    assert dense.layer("body").reason == "no rank given"
    assert {layer.mapping for layer in dense.layers} == {"vw-sdk"}


@pytest.mark.parametrize(
    "groups, rank, bits, message",
    [
        (4, None, None, r"groups \(=4\) needs a rank too, such as 1/8"),
        (2, "1/8", 0, r"bits \(=0\) must lie between 1 and 8"),
        (2, "1/8", 9, r"bits \(=9\) must lie between 1 and 8"),
        (2, "1/3", 4, r"layer body: rank 1/3 of 16 output channels is not a whole number"),
        (3, 2, 4, r"layer body: groups \(=3\) must divide its 16 input channels"),
        (2, 17, 4, r"layer body: rank \(=17\) must lie between 1 and 16"),
        (2, 0, 4, r"rank \(=0\) must be a whole number"),
        (2, "much", 4, r"rank \(=much\) must be a whole number"),
    ],
)
def test_a_uniform_plan_that_cannot_be(groups: int | None, rank: str | int | None, bits: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        uniform_plan(small_network(), ARRAY, groups, rank, bits)


def test_a_network_without_a_layer_to_compress_is_refused() -> None:
    layers = (ConvShape("only", 3, 8, (3, 3), (8, 8)), ConvShape("head", 8, 10, (1, 1), (1, 1), kind="linear"))
    with pytest.raises(InputError, match=r"no layer of tiny can be low-rank: only stays dense \(first convolution\)"):
        uniform_plan(Network("tiny", (3, 8, 8), layers), ARRAY, 1, 2)


def test_weights_keep_the_first_run() -> None:
    found = weights(small_network())
    assert list(found) == ["stem", "body", "deep", "point", "parts", "hidden", "head"]
    assert found["body"].input == (8, 8)


@given(st.integers(2, 8), st.sampled_from([1, 2, 4, 8]), st.sampled_from(["1/16", "1/8", "1/4", "2"]))
@settings(max_examples=20, deadline=None)
def test_uniform_plans_of_the_zoo_fit_their_networks(bits: int, groups: int, rank: str) -> None:
    for name in ("resnet20", "wrn16-4", "vgg9"):
        network = zoo_network(name)
        plan = uniform_plan(network, ARRAY, groups, rank, bits)
        check_plan(plan, network)
        assert (plan.layers[0].weight_bits, plan.layers[-1].weight_bits) == (8, 8)
        assert {layer.weight_bits for layer in plan.layers[1:-1]} == {bits}
        assert any(layer.kind == LOW_RANK and layer.groups == groups for layer in plan.layers)


def test_the_schema_knows_the_mappings_there_are() -> None:
    schema = json.loads((Path(rankfold.plan.__file__).parent / "plan.schema.json").read_text())
    assert schema["properties"]["layers"]["items"]["properties"]["mapping"]["enum"] == list(METHODS)


@pytest.mark.parametrize("choice", [{"groups": 2}, {"rank": 2}])
def test_half_a_low_rank_choice_is_refused(choice: dict[str, int]) -> None:
    for kind, message in (
        (DENSE, "only a low-rank layer has (groups|rank), this one is dense"),
        (LOW_RANK, "a low-rank layer needs"),
    ):
        with pytest.raises(InputError, match=message):
            LayerPlan("conv", kind, **choice)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 4.0}, r"at layers/1/rank: 4\.0 is not of type 'integer'"),
        ({"groups": True}, "at layers/1/groups: True is not of type 'integer'"),
        ({"mapping": "vw-sdk"}, r"mapping \(=vw-sdk\) of a low-rank layer must be one of im2col, sdk"),
        ({"input_bits": None}, "is not of type 'integer'"),
    ],
)
def test_what_would_fail_later_names_the_file(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    content = small_plan().to_json()
    content["layers"][1] |= changes
    (tmp_path / "edited.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"edited\.json is not a valid plan: .*{message}"):
        Plan.load(tmp_path / "edited.json")


def test_no_groups_and_unknown_mappings_are_refused() -> None:
    with pytest.raises(InputError, match=r"groups \(=0\) must divide"):
        uniform_plan(small_network(), ARRAY, 0, 2)
    with pytest.raises(InputError, match=r"mapping \(=magic\) of a dense layer must be one of im2col"):
        uniform_plan(small_network(), ARRAY, 1, 2, mapping="magic")
    assert {layer.mapping for layer in uniform_plan(small_network(), ARRAY, 1, 2, mapping="best").layers} == {"best"}
    assert {layer.mapping for layer in uniform_plan(small_network(), ARRAY, 1, 2, mapping="vw-sdk").layers} == {"vw-sdk", "sdk"}


def test_a_pruned_plan_has_the_layers_of_a_low_rank_one() -> None:
    network = small_network()
    plan = pruned_plan(network, ARRAY, "pairs", 4, 4, block=8, steering="ideal")
    check_plan(plan, network)
    chosen = {layer.name for layer in plan.layers if layer.kind == PRUNED}
    assert chosen == {layer.name for layer in small_plan().layers if layer.kind == LOW_RANK}
    body = plan.layer("body")
    assert (body.pruning, body.entries, body.block, body.steering, body.mapping) == ("pairs", 4, 8, "ideal", "sdk")
    assert body.reason == "PAIRS, 4 of 9 positions"
    assert [layer.weight_bits for layer in plan.layers] == [layer.weight_bits for layer in small_plan().layers]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("magnitude", 4), r"pruning \(=magnitude\) must be one of patdnn, pairs"),
        (("patdnn", 0), r"entries \(=0\) must be 1 or more"),
        (("patdnn", 9), r"entries \(=9\) prune no layer of small: they must be fewer than a kernel has positions"),
        (("patdnn", 4, 9), r"bits \(=9\) must lie between 1 and 8"),
        (("patdnn", 4, 4, "sdk", 8), r"block \(=8\) must be 1 or more, and only pairs has one"),
        (("pairs", 4, 4, "sdk", None, "magic"), r"steering \(=magic\) must be plain or ideal"),
    ],
)
def test_a_pruned_plan_that_cannot_be(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pruned_plan(small_network(), ARRAY, *arguments)


def test_patterns_and_channels_that_a_layer_cannot_have_are_refused() -> None:
    network = small_network()
    layers = {layer.name: layer for layer in pruned_plan(network, ARRAY, "patdnn", 4).layers}
    for name, change, message in (
        ("body", {"entries": 9}, r"layer body: entries \(=9\) must be at least 1 and fewer than .* has 9 positions"),
        (
            "head",
            {"kind": PRUNED, "pruning": "patdnn", "entries": 1, "steering": "plain"},
            "layer head: .* fully connected layer",
        ),
        ("stem", {"kind": NARROWED, "in_channels": 3, "out_channels": 999}, r"out_channels \(=999\) must be at most the"),
    ):
        changed = {**layers, name: replace(layers[name], **change)}
        with pytest.raises(InputError, match=message):
            check_plan(replace(small_plan(), layers=tuple(changed.values())), network)


def test_a_plan_keeps_the_cells_of_its_array(tmp_path) -> None:
    plan = replace(small_plan(), array=ArraySpec(64, 32, cell_bits=2, coding="differential", dac_bits=1))
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    content = plan.to_json()
    content["cells"]["coding"] = "gray"
    with pytest.raises(InputError, match="at cells/coding: 'gray' is not one of"):
        Plan.from_json(content)
