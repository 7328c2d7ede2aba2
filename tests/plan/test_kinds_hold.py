"""A kind of layer holds another one: a proof that it can have all of its weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from rankfold.lowrank import LowRankFactors, reconstruct
from rankfold.plan import (
    DenseLayer,
    LayerKind,
    LowRankLayer,
    PatDNNLayer,
    SupportLayer,
    support_to_mask,
    support_to_text,
    text_to_support,
)
from rankfold.workload import ConvShape


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
