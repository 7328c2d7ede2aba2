"""Laws of all kinds of layers: their part of plan files, their names, and their supports."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.random_plans import LAYERS_OF, layer_kinds
from rankfold.errors import InputError
from rankfold.mapping import MAPPINGS, ArraySpec
from rankfold.plan import (
    ChannelLayer,
    DenseLayer,
    GroupedLayer,
    LayerKind,
    LayerPlan,
    LowRankLayer,
    PairsLayer,
    PatDNNLayer,
    Plan,
    SkippedLayer,
    SupportLayer,
    WindowMarginsLayer,
)
from rankfold.plan.kinds import kind_from_json, kinds
from rankfold.plan.kinds.registry import COMMON_FIELDS
from rankfold.plan.layer import COMMON
from rankfold.plan.plan import plan_schema

ALL_KINDS = kinds()


def test_the_random_layers_are_of_all_kinds() -> None:
    assert tuple(LAYERS_OF) == ALL_KINDS


@given(layer_kinds())
def test_a_kind_is_read_from_what_it_wrote(kind: LayerKind) -> None:
    content = json.loads(json.dumps(kind.to_json()))
    assert kind_from_json(content) == kind


@given(layer_kinds())
def test_the_schema_accepts_what_a_kind_wrote(kind: LayerKind) -> None:
    layer = LayerPlan("layer", kind, mapping=kind.mappings[0])
    plan = Plan("net", (1, 1, 1), ArraySpec(8, 8), (layer,))
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_the_schema_knows_the_fields_that_a_kind_has(kind: type[LayerKind]) -> None:
    assert set(kind.schema) == {field.name for field in fields(kind)}
    assert set(kind.mappings) <= set(MAPPINGS)


def test_every_field_of_a_plan_belongs_to_all_layers_or_to_a_kind() -> None:
    known = set(plan_schema()["properties"]["layers"]["items"]["properties"])
    of_kinds = {name for kind in ALL_KINDS for name in kind.schema}
    assert known == {*COMMON_FIELDS, *of_kinds}
    assert {"name", "kind", "pruning", *COMMON} == set(COMMON_FIELDS)


VALUES: dict[str, Any] = {
    "pruning": "pairs",
    "groups": 2,
    "rank": 2,
    "entries": 2,
    "support": "1b",
    "steering": "plain",
    "block": 2,
    "in_channels": 2,
    "out_channels": 2,
}


@given(layer_kinds(), st.sampled_from(sorted(VALUES)))
def test_fields_of_other_kinds_are_refused(kind: LayerKind, field: str) -> None:
    if field == "pruning" and kind.variant is not None:
        return
    if field in kind.schema:
        return
    said = kind.variant or kind.name
    with pytest.raises(InputError, match=rf"\b{field}\b.*, this one is {said}$"):
        kind_from_json({**kind.to_json(), field: VALUES[field]})


LOW_RANK = {"kind": "low-rank", "groups": 1, "rank": 1}
PRUNED = {"kind": "pattern-pruned", "entries": 4, "steering": "plain"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"kind": "cp"},
            r"kind \(=cp\) must be dense, low-rank, pattern-pruned, channel-pruned, window, "
            "window-low-rank, window-margins, grouped, skipped or trimmed",
        ),
        ({"kind": "dense", "groups": 2}, "only a low-rank layer has groups, this one is dense"),
        (
            {"kind": "dense", "rank": 2},
            "only low-rank and window-low-rank layers have rank, this one is dense",
        ),
        (
            {"kind": "dense", "entries": 4},
            "only low-rank and pattern-pruned layers have entries, this one is dense",
        ),
        (
            {"kind": "dense", "support": "1b"},
            "only low-rank, pattern-pruned, window, window-low-rank and trimmed layers have support, "
            "this one is dense",
        ),
        ({"kind": "dense", "pruning": "pairs"}, "only a pattern-pruned layer has pruning, this one is dense"),
        (
            {"kind": "dense", "steering": "plain"},
            "only a pattern-pruned layer has steering, this one is dense",
        ),
        (
            {"kind": "dense", "in_channels": 2},
            "only a channel-pruned layer has in_channels, this one is dense",
        ),
        ({**LOW_RANK, "block": 4}, "block is out of place: only pairs has one, this one is low-rank"),
        (
            {**PRUNED, "pruning": "patdnn", "block": 4},
            "block is out of place: only pairs has one, this one is patdnn",
        ),
        ({"kind": "low-rank", "groups": 1}, "a low-rank layer needs rank"),
        ({"kind": "low-rank", "rank": 1}, "a low-rank layer needs groups"),
        (
            {**LOW_RANK, "support": "1b"},
            "only low-rank layers with entries, and pruning support, have a support",
        ),
        ({**LOW_RANK, "entries": 4, "support": "1B  1b"}, "support must be hexadecimal numbers"),
        (
            {**PRUNED, "pruning": "pairs", "support": "1b"},
            "only low-rank, pattern-pruned, window, window-low-rank and trimmed layers have support, "
            "this one is pairs",
        ),
        ({**PRUNED, "pruning": "support", "support": "x"}, "support must be hexadecimal numbers"),
        (PRUNED, "a pattern-pruned layer needs pruning"),
        (
            {**PRUNED, "pruning": "magnitude"},
            r"pruning \(=magnitude\) must be patdnn or pairs or .* or support",
        ),
        (
            {**PRUNED, "pruning": "pairs", "block": 0},
            r"block \(=0\) must be 1 or more, and only pairs has one",
        ),
        ({**PRUNED, "pruning": "pairs", "steering": "magic"}, r"steering \(=magic\) must be plain or ideal"),
        (
            {"kind": "pattern-pruned", "pruning": "support", "steering": "plain"},
            "a pattern-pruned layer needs entries",
        ),
        (
            {"kind": "pattern-pruned", "pruning": "support", "entries": 4},
            "a pattern-pruned layer needs steering",
        ),
        ({"kind": "channel-pruned", "in_channels": 4}, "a channel-pruned layer needs out_channels"),
        ({"kind": "grouped"}, "a grouped layer needs blocks"),
        (
            {"kind": "grouped", "blocks": 1},
            r"blocks \(=1\) of a grouped layer must be a whole number, 2 or more",
        ),
        ({"kind": "grouped", "blocks": 2, "members": "1 2"}, "members must be two hexadecimal numbers for"),
    ],
)
def test_what_a_plan_says_wrongly_of_a_kind(content: dict[str, Any], message: str) -> None:
    entry = {"name": "body", **content}
    with pytest.raises(InputError, match=f"^plan, layer body: {message}"):
        LayerPlan.from_json(entry)


@pytest.mark.parametrize(
    ("kind", "short"),
    [
        (DenseLayer(), "dense"),
        (LowRankLayer(4, 8), "g4 r8"),
        (LowRankLayer(4, 8, 3), "g4 r8 e3"),
        (LowRankLayer(1, 8, 3, "7 7"), "g1 r8 e3*"),
        (LowRankLayer(1, 8, 3, "7 e"), "g1 r8 e3"),
        (PatDNNLayer(4), "e4"),
        (PairsLayer(4, "ideal", 8), "e4"),
        (SupportLayer(2, support="3 3 3"), "e2*"),
        (SupportLayer(2, support="3 3 5"), "e2"),
        (ChannelLayer(16, 8), "c16>8"),
        (GroupedLayer(4), "G4"),
        (SkippedLayer(), "skipped"),
    ],
    ids=repr,
)
def test_a_kind_in_a_few_letters(kind: LayerKind, short: str) -> None:
    assert kind.short() == short


@given(layer_kinds())
def test_only_kinds_that_share_a_support_can_be_given_one(kind: LayerKind) -> None:
    if not kind.shares_support:
        with pytest.raises(
            InputError, match=f"a {kind.name} layer has no support|only .* with (entries|rows)"
        ):
            kind.with_support("1 2")
        assert kind.known_support is None
        return
    matrices = 1
    if isinstance(kind, WindowMarginsLayer):
        matrices = sum(part.rows is not None for part in kind.parts)
    support, other = ("; ".join([text] * matrices) for text in ("1 2", "3"))
    if isinstance(kind, GroupedLayer):
        support, other = "1:1 2:2", "1:2 2:1"
    filled = kind.with_support(support)
    assert filled.known_support == support
    assert filled.with_support(other) == kind.with_support(other)
