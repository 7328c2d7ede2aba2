"""What a layer may become, in which order, and that other kinds can join."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from common.made_up import SLOT, entries_of, nested
from rankfold.cost.kinds import KindCost
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import (
    ChannelLayer,
    DenseLayer,
    GroupedLayer,
    LowRankLayer,
    SupportLayer,
    WindowLayer,
    support_to_text,
)
from rankfold.plan.kinds import LayerKind, kinds, registered
from rankfold.planning import PlanningOptions, planning_problem
from rankfold.planning.kinds import LayerStudy, WeightCandidates, candidates_of, layer_entries

POSITIONS = 9


def test_the_order_of_entries():
    """Ties are broken by it: dense, windows, pairs, then each support and the pairs on it, by rising
    positions.
    """
    families = [nested(4, POSITIONS, 0), nested(4, POSITIONS, 1, shared=True)]
    entries = list(layer_entries(SLOT, families))
    assert [entry.mapping for entry in entries[:3]] == ["best", "sdk", "im2col"]
    assert all(isinstance(entry.kind, DenseLayer) for entry in entries[:3])
    rest = entries[3:]
    windows = [entry for entry in rest if isinstance(entry.kind, WindowLayer)]
    assert windows and rest[: len(windows)] == windows
    rest = rest[len(windows) :]
    grouped = [entry for entry in rest if isinstance(entry.kind, GroupedLayer)]
    assert [entry.kind.blocks for entry in grouped] == [2, 2, 4, 4] and rest[: len(grouped)] == grouped
    rest = rest[len(grouped) :]
    plain = [entry for entry in rest if entry.kind.known_support is None]
    assert rest[: len(plain)] == plain
    assert [entry.mapping for entry in plain] == ["best", "sdk"] * (len(plain) // 2)
    pairs = [(entry.kind.groups, entry.kind.rank) for entry in plain[::2]]
    assert pairs == sorted(pairs, key=lambda pair: (pair[0], -pair[1]))
    seen = []
    for entry in rest[len(plain) :]:
        kind = entry.kind
        if isinstance(kind, SupportLayer):
            seen.append(kind.support)
        else:
            # A pair follows the support that it is on.
            assert isinstance(kind, LowRankLayer) and kind.support == seen[-1]
            assert kind.entries in (2, 3, 4, 6)
    wanted = []
    for family in families:
        wanted += [support_to_text(family[entries]) for entries in range(1, POSITIONS)]
    assert seen == wanted


def test_pairs_on_supports_have_ranks_that_the_positions_allow():
    pairs = [entry.kind for entry in entries_of(SLOT) if isinstance(entry.kind, LowRankLayer)]
    assert any(pair.entries is not None for pair in pairs)
    for pair in pairs:
        pair.check(SLOT.shape)


@dataclass(frozen=True)
class HalvedLayer(LayerKind):
    """Every weight becomes half of it."""

    name: ClassVar[str] = "halved"


class HalvedCandidates(WeightCandidates):
    def entries(self, slot, support) -> Iterator:
        if support is None:
            yield replace(slot.entry, kind=HalvedLayer())

    def replacement(self, kind, study):
        return study.weight / 2


def test_a_registered_kind_is_a_candidate_before_those_of_more_stages():
    with registered(HalvedLayer, candidates=HalvedCandidates()):
        names = [entry.kind.name for entry in layer_entries(SLOT, ())]
        assert set(names[3:]) == {"window", "grouped", "halved", "low-rank"}
        assert set(names[names.index("halved") + 1 :]) == {"low-rank"}
        study = LayerStudy(SLOT, np.ones((8, 4, 3, 3)), np.eye(36)[None])
        assert (candidates_of(HalvedLayer()).replacement(HalvedLayer(), study) == 0.5).all()
        assert "halved" not in {
            entry.kind.name for entry in layer_entries(replace(SLOT, why_dense="kept"), ())
        }
    assert HalvedLayer not in kinds()


class OnSupports(HalvedCandidates):
    """Asked for candidates on supports, as any kind may be: nothing is said of them."""

    def __init__(self):
        self.asked = []

    def entries(self, slot, support):
        self.asked.append(support)
        return super().entries(slot, support)


def test_a_registered_kind_that_is_chosen_alone_gets_its_supports():
    """They are found on data only where somebody asks for them."""
    model = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)), nn.Flatten())
    parts = OnSupports()
    with registered(HalvedLayer, cost=KindCost(), candidates=parts):
        planning_problem(
            model,
            [torch.randn(16, 4, 2, 2)],
            ArraySpec(16, 16),
            options=PlanningOptions(images=16, kinds=["halved"]),
        )
    entries = [support.entries for support in parts.asked if support is not None]
    assert set(entries) == set(range(1, POSITIONS))


def test_kinds_without_candidates_are_refused():
    with pytest.raises(InputError, match="channel-pruned layers have no candidates of their own"):
        candidates_of(ChannelLayer(2, 2))
