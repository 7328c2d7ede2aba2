"""Plans: the file, its schema, the digest, and what a plan must fit."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.layer_sorts import ARRAY, every_sort, low_rank_plan
from common.random_plans import WORDS, plans
from rankfold.errors import InputError
from rankfold.mapping import MAPPINGS, ArraySpec
from rankfold.plan import (
    ChannelLayer,
    DenseLayer,
    LayerPlan,
    LowRank,
    LowRankLayer,
    PatDNN,
    PatDNNLayer,
    Plan,
    check_plan,
    uniform_plan,
    weights,
)
from rankfold.plan.plan import plan_schema
from rankfold.workload import zoo_network


@given(plan=plans())
@settings(max_examples=60)
def test_a_saved_plan_is_loaded_as_it_was(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> None:
    path = tmp_path_factory.getbasetemp() / "plan.json"
    plan.save(path)
    assert Plan.load(path) == plan
    assert Plan.load(path).digest() == plan.digest()
    assert json.loads(path.read_text(encoding="utf-8")) == plan.to_json()


def test_a_plan_file_has_one_layer_a_line_and_no_empty_entries(tmp_path: Path) -> None:
    low_rank_plan().save(tmp_path / "plan.json")
    lines = (tmp_path / "plan.json").read_text().splitlines()
    entries = [json.loads(line.strip().rstrip(",")) for line in lines if line.startswith("    {")]
    names = [entry["name"] for entry in entries]
    assert names == ["stem", "body", "deep", "point", "parts", "hidden", "head"]
    assert all(None not in entry.values() and "" not in entry.values() for entry in entries)


@given(plan=plans(), words=st.lists(WORDS, min_size=4, max_size=4))
@settings(max_examples=30)
def test_the_digest_ignores_reasons(plan: Plan, words: list[str]) -> None:
    renamed = [replace(layer, reason=word) for layer, word in zip(plan.layers, words, strict=False)]
    assert replace(plan, layers=tuple(renamed)).digest() == plan.digest()


def with_layer(chosen: str, **change: Any) -> Plan:
    """The small plan with one entry changed."""
    plan = low_rank_plan()
    layers = []
    for layer in plan.layers:
        if layer.name == chosen:
            layer = replace(layer, **change)
        layers.append(layer)
    return replace(plan, layers=tuple(layers))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": LowRankLayer(2, 3)},
        {"kind": LowRankLayer(4, 2)},
        {"kind": LowRankLayer(2, 2, entries=4)},
        {"kind": DenseLayer()},
        {"mapping": "im2col"},
        {"weight_bits": 5},
        {"input_bits": 5},
        {"input_signed": True},
        {"input_signed": False},
        {"name": "other"},
    ],
    ids=str,
)
def test_the_digest_sees_every_decision(change: dict[str, Any]) -> None:
    assert with_layer("body", **change).digest() != low_rank_plan().digest()


@pytest.mark.parametrize(
    "change",
    [
        {"model": "x"},
        {"input": (1, 8, 8)},
        {"array": ArraySpec(32, 64)},
        {"array": replace(ARRAY, dac_bits=1)},
    ],
    ids=str,
)
def test_the_digest_sees_what_it_was_planned_for(change: dict[str, Any]) -> None:
    assert replace(low_rank_plan(), **change).digest() != low_rank_plan().digest()


def edited(*path: Any, value: Any) -> Any:
    """The content of a plan with one place replaced (or removed, for `...`)."""
    content = copy.deepcopy(low_rank_plan().to_json())
    place = content
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
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
        (edited("layers", 1, "kind", value="tucker"), r"layer body: kind \(=tucker\) must be one of"),
        (edited("layers", 1, "rank", value=0), "at layers/1/rank: 0 is less than the minimum of 1"),
        (edited("layers", 1, "rank", value=2.5), "at layers/1/rank: 2.5 is not of type 'integer'"),
        (
            edited("layers", 2, "weight_bits", value=9),
            "at layers/2/weight_bits: 9 is greater than the maximum of 8",
        ),
        (
            edited("layers", 2, "input_bits", value=0),
            "at layers/2/input_bits: 0 is less than the minimum of 1",
        ),
        (
            edited("layers", 0, "mapping", value="magic"),
            r"mapping \(=magic\) of a dense layer must be one of im2col, .*such as 4x8",
        ),
        (
            edited("layers", 0, "input_signed", value="no"),
            "at layers/0/input_signed: 'no' is not of type 'boolean'",
        ),
        (edited("layers", 0, "bits", value=4), "at layers/0: Additional properties .*'bits'"),
        (edited("layers", 1, "rank", value=...), "layer body: a low-rank layer needs rank"),
        (
            edited("layers", 1, "kind", value="dense"),
            "layer body: only a low-rank layer has groups, this one is dense",
        ),
        (
            edited("layers", 1, "input_bits", value=...),
            "layer body: give weight_bits and input_bits, or neither",
        ),
        (edited("layers", 1, "rank", value=4.0), r"at layers/1/rank: 4\.0 is not of type 'integer'"),
        (edited("layers", 1, "groups", value=True), "at layers/1/groups: True is not of type 'integer'"),
        (
            edited("layers", 1, "mapping", value="vw-sdk"),
            r"mapping \(=vw-sdk\) of a low-rank layer must be one of im2col, sdk",
        ),
        (edited("layers", 1, "input_bits", value=None), "None is not of type 'integer'"),
    ],
)
def test_a_bad_plan_file_names_the_file_and_the_place(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"edited\.json is not a valid plan: .*{message}"):
        Plan.load(path)


def test_files_that_are_no_plans(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        Plan.load(tmp_path / "gone.json")
    (tmp_path / "plan.json").write_text('{"model": ')
    with pytest.raises(InputError, match="is not valid JSON"):
        Plan.load(tmp_path / "plan.json")


def test_a_plan_keeps_the_cells_of_its_array(tmp_path: Path) -> None:
    cells = ArraySpec(64, 32, cell_bits=2, coding="differential", dac_bits=1, rows_driven=16)
    plan = replace(low_rank_plan(), array=cells)
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    content = plan.to_json()
    content["cells"]["coding"] = "gray"
    with pytest.raises(InputError, match="at cells/coding: 'gray' is not one of"):
        Plan.from_json(content)


def test_a_plan_keeps_how_inputs_are_coded_where_it_is_said(tmp_path: Path) -> None:
    """Files and hashes of plans that do not say it stay as they were."""
    plan = replace(low_rank_plan(), array=ArraySpec(64, 32, cell_bits=2, dac_bits=1))
    assert "input_coding" not in plan.to_json()["cells"]
    coded = replace(plan, array=replace(plan.array, input_coding="sign-magnitude"))
    coded.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == coded
    assert coded.digest() != plan.digest()
    content = coded.to_json()
    content["cells"]["input_coding"] = "gray"
    with pytest.raises(InputError, match="at cells/input_coding: 'gray' is not one of"):
        Plan.from_json(content)


def test_cells_without_coding_are_those_of_version_0_1() -> None:
    """Its files may say bits alone, and meant offset coding whose columns are converted."""
    content = {**low_rank_plan().to_json(), "cells": {"cell_bits": 2}}
    plan = Plan.from_json(content)
    assert (plan.array.coding, plan.array.converts) == ("offset", "columns")
    assert Plan.from_json(plan.to_json()) == plan


def test_the_schema_knows_the_mappings_there_are() -> None:
    assert plan_schema()["properties"]["layers"]["items"]["properties"]["mapping"]["examples"][:5] == list(
        MAPPINGS
    )


@pytest.mark.parametrize(
    ("kind", "mapping", "message"),
    [
        (DenseLayer(), "magic", r"mapping \(=magic\) of a dense layer must be one of im2col, sdk, vw-sdk"),
        (
            LowRankLayer(1, 1),
            "vw-sdk",
            r"mapping \(=vw-sdk\) of a low-rank layer must be one of im2col, sdk, best",
        ),
        (
            PatDNNLayer(4),
            "tetris-sdk",
            r"mapping \(=tetris-sdk\) of a pattern-pruned layer must be one of im2col",
        ),
    ],
)
def test_a_layer_cannot_be_laid_out_as_its_kind_cannot(kind: Any, mapping: str, message: str) -> None:
    with pytest.raises(InputError, match=f"plan, layer a: {message}"):
        LayerPlan("a", kind, mapping=mapping)


@pytest.mark.parametrize("bits", [{"weight_bits": 4}, {"input_bits": 4}])
def test_bits_of_weights_and_inputs_go_together(bits: dict[str, int]) -> None:
    with pytest.raises(InputError, match="plan, layer a: give weight_bits and input_bits, or neither"):
        LayerPlan("a", **bits)


def test_lookup_quantised_changed_and_signs() -> None:
    plan = low_rank_plan()
    assert plan.layer("point").reason == "1x1 convolution"
    assert plan.quantised
    assert not uniform_plan(every_sort(), ARRAY, LowRank(groups=2, rank=4)).quantised
    assert [layer.name for layer in plan.changed] == ["body", "parts"]
    first = plan.with_signs({"stem": True, "body": False, "unknown": True})
    assert [layer.input_signed for layer in first.layers[:3]] == [True, False, None]
    # What is already settled stays.
    second = first.with_signs({layer.name: True for layer in plan.layers})
    assert [layer.input_signed for layer in second.layers[:3]] == [True, False, True]


def test_a_fitting_plan_is_accepted() -> None:
    check_plan(low_rank_plan(), every_sort())
    network = zoo_network("resnet20")
    check_plan(uniform_plan(network, ARRAY, LowRank(groups=4, rank="1/8"), bits=4), network)


def test_a_layer_is_named_once() -> None:
    layers = low_rank_plan().layers
    with pytest.raises(InputError, match="names layer body twice; keep one entry"):
        replace(low_rank_plan(), layers=(*layers, layers[1]))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (
            uniform_plan(zoo_network("resnet8"), ARRAY),
            r"another network \(resnet8, not small\): layer stem .* is missing",
        ),
        (
            replace(low_rank_plan(), layers=(*low_rank_plan().layers, LayerPlan("odd"))),
            "is for another network: the network has no layer odd",
        ),
        (with_layer("body", name="body#2"), "layer body of the network is missing"),
        (
            replace(low_rank_plan(), layers=low_rank_plan().layers[:-1]),
            "layer head of the network is missing",
        ),
        (
            replace(low_rank_plan(), input=(3, 16, 16)),
            r"the plan is for images of \(3, 16, 16\) .* the network gets \(3, 8, 8\)",
        ),
        (
            with_layer("body", kind=LowRankLayer(2, 17)),
            r"layer body: rank \(=17\) must lie between 1 and 16, the full rank with 2 groups",
        ),
        (
            with_layer("parts", kind=LowRankLayer(2, 17)),
            r"layer parts: rank \(=17\) must lie between 1 and 16",
        ),
        (
            with_layer("body", kind=LowRankLayer(3, 2)),
            r"layer body: groups \(=3\) must divide its 16 input channels; use one of 1, 2, 4, 8, 16",
        ),
        (
            with_layer("hidden", kind=LowRankLayer(1, 99)),
            r"layer hidden: rank \(=99\) must lie between 1 and",
        ),
        (
            with_layer("body", kind=PatDNNLayer(9)),
            r"layer body: entries \(=9\) must be at least 1 and fewer than .* has 9 positions",
        ),
        (with_layer("head", kind=PatDNNLayer(1)), "layer head: .* fully connected layer"),
        (
            with_layer("stem", kind=ChannelLayer(3, 999)),
            r"layer stem: out_channels \(=999\) must be at most the 16",
        ),
        (
            with_layer("stem", kind=ChannelLayer(4, 16)),
            r"layer stem: in_channels \(=4\) must be at most the 3",
        ),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(plan: Plan, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_plan(plan, every_sort())


def test_a_layer_that_is_fixed_cannot_be_low_rank() -> None:
    network = every_sort()
    fixed = replace(network.layers[1], fixed="has a parametrised weight")
    network = replace(network, layers=(network.layers[0], fixed, *network.layers[2:]))
    with pytest.raises(
        InputError, match="layer body: it cannot be low-rank: has a parametrised weight; make it dense"
    ):
        check_plan(low_rank_plan(), network)
    check_plan(uniform_plan(network, ARRAY, PatDNN(4)), network)


def test_weights_keep_the_first_run() -> None:
    shapes = weights(every_sort())
    assert list(shapes) == ["stem", "body", "deep", "point", "parts", "hidden", "head"]
    assert shapes["body"].input == (8, 8)


def test_an_entry_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"has no layer nowhere; make a plan for this network"):
        low_rank_plan().layer("nowhere")


def test_a_prediction_holds_for_the_layers_as_they_were(tmp_path) -> None:
    """Bits, mappings and reasons do not change what was predicted of the layers; other kinds do."""
    plan = low_rank_plan().predicting(0.25)
    plan.save(tmp_path / "plan.json")
    loaded = Plan.load(tmp_path / "plan.json")
    assert loaded == low_rank_plan() and loaded.digest() == low_rank_plan().digest()
    assert loaded.predicted_loss == 0.25
    assert loaded.predicted_loss_for("weights", "data") is None
    bound = low_rank_plan().predicting(0.25, "weights", "data")
    bound = Plan.from_json(bound.to_json())
    assert bound.predicted_loss_for("weights", "data") == 0.25
    assert bound.predicted_loss_for("others", "data") is bound.predicted_loss_for("weights", "others") is None
    number = next(index for index, layer in enumerate(plan.layers) if layer.kind.changes_weight)
    changed = plan.layers[number]
    for layer, loss in (
        (replace(changed, reason="by hand", weight_bits=2, input_bits=2), 0.25),
        (replace(changed, kind=DenseLayer(), mapping="best"), None),
    ):
        edited = replace(loaded, layers=(*plan.layers[:number], layer, *plan.layers[number + 1 :]))
        assert edited.predicted_loss == loss
        assert ("prediction" in edited.to_json()) == (loss is not None)
    with pytest.raises(InputError, match="must be 0 nats or more"):
        plan.predicting(-1.0)
