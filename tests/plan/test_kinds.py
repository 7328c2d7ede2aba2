"""Laws of all kinds of layers: their part of plan files, the registry, and that `holds` is a proof."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from common.random_plans import LAYERS_OF, layer_kinds
from rankfold.errors import InputError
from rankfold.lowrank import LowRankFactors, reconstruct
from rankfold.mapping import MAPPINGS, ArraySpec
from rankfold.plan import (
    ChannelLayer,
    DenseLayer,
    LayerKind,
    LayerPlan,
    LowRankLayer,
    PairsLayer,
    PatDNNLayer,
    Plan,
    SupportLayer,
    register_kind,
    support_to_mask,
    support_to_text,
    text_to_support,
)
from rankfold.plan.kinds import has_part, kind_from_json, kind_names, kinds, part_of, registered
from rankfold.plan.kinds.registry import COMMON_FIELDS
from rankfold.plan.layer import COMMON
from rankfold.plan.plan import plan_schema
from rankfold.workload import ConvShape

ALL_KINDS = kinds()


def test_the_random_layers_are_of_all_kinds() -> None:
    assert tuple(LAYERS_OF) == ALL_KINDS


# ---- plan files


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
            r"kind \(=cp\) must be dense, low-rank, pattern-pruned, channel-pruned, window or "
            "window-low-rank",
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
            "only low-rank, pattern-pruned, window and window-low-rank layers have support, "
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
            "only low-rank, pattern-pruned, window and window-low-rank layers have support, "
            "this one is pairs",
        ),
        ({**PRUNED, "pruning": "support", "support": "x"}, "support must be hexadecimal numbers"),
        (PRUNED, "a pattern-pruned layer needs pruning"),
        ({**PRUNED, "pruning": "magnitude"}, r"pruning \(=magnitude\) must be patdnn or pairs or support"),
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
    filled = kind.with_support("1 2")
    assert filled.known_support == "1 2"
    assert filled.with_support("3") == kind.with_support("3")


# ---- the registry


@dataclass(frozen=True)
class Mirrored(LayerKind):
    """A kind that is made up."""

    name: ClassVar[str] = "mirrored"
    schema: ClassVar[dict[str, Any]] = {"axes": {"type": "integer"}}

    axes: int = 1


def test_a_kind_is_known_only_while_it_is_registered() -> None:
    assert kind_names() == (
        "dense",
        "low-rank",
        "pattern-pruned",
        "channel-pruned",
        "window",
        "window-low-rank",
    )
    plan = Plan("net", (1, 1, 1), ArraySpec(8, 8), (LayerPlan("layer", Mirrored(2)),))
    with registered(Mirrored):
        assert kinds() == (*ALL_KINDS, Mirrored)
        assert kind_names()[-1] == "mirrored"
        assert Plan.from_json(plan.to_json()) == plan
        with pytest.raises(InputError, match="only a mirrored layer has axes, this one is dense"):
            kind_from_json({"kind": "dense", "axes": 2})
    with pytest.raises(InputError, match=r"layer layer: kind \(=mirrored\) must be one of"):
        Plan.from_json(plan.to_json())
    with pytest.raises(RuntimeError), registered(Mirrored):
        raise RuntimeError
    assert kinds() == ALL_KINDS


def test_what_cannot_be_registered() -> None:
    with pytest.raises(
        InputError, match="a kind of layer named dense is registered already; choose another name"
    ):
        register_kind(DenseLayer)
    with pytest.raises(InputError, match=r"named pattern-pruned \(pairs\) is registered already"):
        register_kind(PairsLayer)
    with pytest.raises(InputError, match=r"kind mirrored: step \(=training\) must be one of cost, surgery"):
        register_kind(Mirrored, training=object())
    assert kinds() == ALL_KINDS


class Undecorated(Mirrored):
    """Without `@dataclass`, its own field is none."""

    name: ClassVar[str] = "undecorated"
    schema: ClassVar[dict[str, Any]] = {"axes": {"type": "integer"}, "planes": {"type": "integer"}}

    planes: int = 1


@dataclass(frozen=True)
class Unspoken(LayerKind):
    """Without a schema, its field could not be read from a plan."""

    name: ClassVar[str] = "unspoken"

    axes: int = 1


@dataclass(frozen=True)
class Reasoned(LayerKind):
    """Every layer has a reason."""

    name: ClassVar[str] = "reasoned"
    schema: ClassVar[dict[str, Any]] = {"reason": {"type": "integer"}}

    reason: int = 1


@dataclass(frozen=True)
class Ranked(LayerKind):
    """Its rank is no integer, as that of low-rank layers."""

    name: ClassVar[str] = "ranked"
    schema: ClassVar[dict[str, Any]] = {"rank": {"type": "string"}}

    rank: str = "high"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Undecorated, "kind undecorated: planes must be a field of the data class and have a JSON Schema"),
        (Unspoken, "kind unspoken: axes must be a field of the data class and have a JSON Schema"),
        (Reasoned, "kind reasoned: reason is a field of every layer in plans; choose another name"),
        (Ranked, "kind ranked: rank is a field of low-rank layers with another schema; choose another name"),
    ],
)
def test_fields_that_plans_could_not_have(kind: type[LayerKind], message: str) -> None:
    with pytest.raises(InputError, match=message):
        register_kind(kind)
    assert kinds() == ALL_KINDS


def test_a_step_asks_for_its_part_of_a_kind() -> None:
    with pytest.raises(InputError, match="Mirrored is not a registered kind of layer; call register_kind"):
        part_of(Mirrored(), "cost", str)
    with registered(Mirrored, cost=3, surgery="math:pi"):
        assert part_of(Mirrored(), "cost", int) == part_of(Mirrored, "cost", int) == 3
        assert part_of(Mirrored, "surgery", float) == pytest.approx(np.pi)  # imported when it was asked for
        with pytest.raises(InputError, match="the cost of Mirrored is a int; it must be a str"):
            part_of(Mirrored, "cost", str)
        with pytest.raises(InputError, match="mirrored layers do not have a picture of their own"):
            part_of(Mirrored, "picture", str)
        assert has_part(Mirrored, "cost") and not has_part(Mirrored(), "picture")
    assert not has_part(Mirrored, "cost")


# ---- holds


@pytest.mark.parametrize(
    "kind", [LowRankLayer(1, 1), LowRankLayer(2, 3), SupportLayer(1, support="1"), DenseLayer()]
)
def test_a_settled_kind_holds_itself_and_no_kind_holds_what_is_open(kind: LayerKind) -> None:
    assert kind.holds(kind) and DenseLayer().holds(kind)
    assert not PatDNNLayer(4).holds(kind)
    assert not SupportLayer(4).holds(kind)  # its positions are still to be chosen
    assert not LowRankLayer(1, 4, entries=4).holds(kind)


@st.composite
def shapes(draw: st.DrawFn) -> ConvShape:
    """A small convolution, of one group or two."""
    groups = draw(st.sampled_from([1, 2]))
    kernel = draw(st.sampled_from([(1, 3), (2, 2)]))
    return ConvShape("layer", groups * 4, groups * draw(st.integers(2, 5)), kernel, (4, 4), groups=groups)


@st.composite
def settled_kinds(draw: st.DrawFn, shape: ConvShape, within: np.ndarray) -> LayerKind:
    """A dense, low-rank or support layer of a shape; if it has a support, mostly one within another one."""
    positions = shape.kernel[0] * shape.kernel[1]
    seed = draw(st.integers(0, 99))
    support = np.random.default_rng(seed).random((shape.in_channels, positions)) < 0.6
    support[0, 0] = True
    support[:, -1] = False  # never all positions
    if draw(st.integers(0, 3)):
        support &= within
    entries = int(support.sum(axis=1).max())
    sort = draw(st.sampled_from(["dense", "low-rank", "sparse", "open", "support"]))
    if sort == "dense" or not entries:
        return DenseLayer()
    if sort == "support":
        return SupportLayer(entries, support=support_to_text(support))
    groups, rank = draw(st.sampled_from([1, 2, 4])), draw(st.integers(1, 3))
    if sort == "low-rank":
        return LowRankLayer(groups, rank)
    if sort == "open":
        return LowRankLayer(groups, rank, entries)
    return LowRankLayer(groups, rank, entries, support_to_text(support))


def support_of(kind: LayerKind, shape: ConvShape) -> np.ndarray:
    """(C_in, kh*kw) the positions that a layer may use."""
    if kind.known_support is not None:
        return text_to_support(kind.known_support, shape)
    return np.ones((shape.in_channels, shape.kernel[0] * shape.kernel[1]), bool)


def random_weight(kind: LayerKind, shape: ConvShape, rng: np.random.Generator) -> np.ndarray:
    """(m, C_in/G, kh, kw) some weight that a layer of this kind can have."""
    support = support_of(kind, shape)
    if not isinstance(kind, LowRankLayer):
        mask = support_to_mask(support, shape.m, shape.groups, shape.kernel)
        return rng.normal(size=mask.shape) * mask
    blocks = shape.groups * kind.groups
    mask = support_to_mask(support, blocks * kind.rank, blocks, shape.kernel)
    reduce = rng.normal(size=mask.shape) * mask
    expand = rng.normal(size=(shape.m, kind.groups * kind.rank, 1, 1))
    return reconstruct(LowRankFactors(reduce, expand, 0.0, 0.0), shape.groups, kind.groups)


def can_have(kind: LayerKind, shape: ConvShape, weight: np.ndarray) -> bool:
    """Whether a layer of this kind can have a weight, by its zeros and the ranks of its blocks."""
    mask = support_to_mask(support_of(kind, shape), shape.m, shape.groups, shape.kernel)
    if np.any(weight[~mask]):
        return False
    if not isinstance(kind, LowRankLayer):
        return True
    outputs, channels = shape.m // shape.groups, shape.in_channels // (shape.groups * kind.groups)
    for rows in weight.reshape(shape.groups, outputs, *weight.shape[1:]):
        for first in range(0, weight.shape[1], channels):
            block = rows[:, first : first + channels].reshape(outputs, -1)
            if np.linalg.matrix_rank(block) > kind.rank:
                return False
    return True


@given(st.data())
def test_what_holds_another_kind_can_have_its_weights(data: st.DataObject) -> None:
    """True must be a proof, since the planner drops candidates by it."""
    shape = data.draw(shapes())
    all_positions = np.ones((shape.in_channels, shape.kernel[0] * shape.kernel[1]), bool)
    holder = data.draw(settled_kinds(shape, all_positions))
    other = data.draw(settled_kinds(shape, support_of(holder, shape)))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    weight = random_weight(other, shape, rng)
    assert can_have(other, shape, weight)  # the check knows what it made
    claimed = holder.holds(other)
    event(f"{type(holder).__name__} holds {type(other).__name__}: {claimed}")
    if claimed:
        assert can_have(holder, shape, weight)


def test_holds_says_yes_where_it_can() -> None:
    """The law above would hold for a `holds` that never says yes."""
    part, whole = "1 3 0 2", "3 3 1 3"
    for holder, other in (
        (LowRankLayer(4, 3), LowRankLayer(2, 3)),
        (LowRankLayer(4, 3), LowRankLayer(4, 1)),
        (LowRankLayer(2, 2), LowRankLayer(2, 2, 1, "1 1 1 1")),
        (LowRankLayer(2, 2, 2, whole), LowRankLayer(1, 2, 2, part)),
        (SupportLayer(2, support=whole), SupportLayer(2, support=part)),
        (SupportLayer(2, support=whole), LowRankLayer(4, 3, 2, part)),
    ):
        assert holder.holds(other) and not other.holds(holder)
        assert DenseLayer().holds(holder) and not holder.holds(DenseLayer())
    for holder, other in (
        (LowRankLayer(3, 3), LowRankLayer(2, 3)),  # blocks of which none is part of another
        (LowRankLayer(2, 3), LowRankLayer(4, 3)),
        (LowRankLayer(4, 3, 2, part), LowRankLayer(2, 3)),
        (LowRankLayer(4, 3, 2, part), SupportLayer(2, support=part)),
    ):
        assert not holder.holds(other)


@given(st.data())
def test_holds_is_transitive(data: st.DataObject) -> None:
    shape = ConvShape("layer", 4, 4, (1, 3), (4, 4))
    all_positions = np.ones((4, 3), bool)
    first = data.draw(settled_kinds(shape, all_positions))
    second = data.draw(settled_kinds(shape, support_of(first, shape)))
    third = data.draw(settled_kinds(shape, support_of(second, shape)))
    if first.holds(second) and second.holds(third):
        assert first.holds(third)
