"""The registry of kinds of layers: what can be registered, and what steps ask of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.plan import (
    DenseLayer,
    LayerKind,
    LayerPlan,
    PairsLayer,
    Plan,
    register_kind,
)
from rankfold.plan.kinds import has_part, kind_from_json, kind_names, kinds, part_of, registered

ALL_KINDS = kinds()  # of the package


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
        "window-margins",
        "grouped",
        "skipped",
        "trimmed",
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
        with pytest.raises(InputError, match="mirrored layers have no picture of their own"):
            part_of(Mirrored, "picture", str)
        assert has_part(Mirrored, "cost") and not has_part(Mirrored(), "picture")
    assert not has_part(Mirrored, "cost")
