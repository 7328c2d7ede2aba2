"""Planes in parts in plans: what fits, what one can stand in for, what is refused, and uniform plans."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rankfold.cost import network_cycles
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.mapping.window_cover import cheapest_cover, cover_cycles
from rankfold.plan import (
    DenseLayer,
    LayerPlan,
    Plan,
    WindowLayer,
    WindowMarginsLayer,
    WindowPart,
    uniform_plan,
)
from rankfold.plan.kinds import kind_from_json
from rankfold.plan.methods import Windows
from rankfold.workload import ConvShape, Network

BODY = ConvShape("body", 4, 6, (3, 3), (5, 5), padding=(1, 1, 1, 1))
MAIN, RIGHT, BELOW = (
    WindowPart((0, 0), (4, 4), (2, 2), 8),
    WindowPart((0, 4), (5, 1), (5, 1)),
    WindowPart((4, 0), (1, 4), (1, 4), 8),
)
KIND = WindowMarginsLayer((MAIN, RIGHT, BELOW))


def test_what_fits() -> None:
    KIND.check(BODY)
    assert KIND.plane == (5, 5) and KIND.shares_support and KIND.known_support is None
    filled = KIND.with_support("3 3 3 3; 3 3 3 3")
    filled.check(BODY)
    assert filled.known_support == "3 3 3 3; 3 3 3 3"
    assert LayerPlan.from_json(LayerPlan("body", filled, mapping="im2col").to_json()).kind == filled
    assert KIND.short() == "w2x2 r8 + w5x1 + w1x4 r8"


def test_what_one_holds() -> None:
    whole = WindowMarginsLayer(tuple(replace(part, rows=None) for part in KIND.parts))
    filled = KIND.with_support("3 3 3 3; 3 3 3 3")
    fewer = filled.with_support("1 1 1 1; 1 1 1 1")
    assert whole.holds(filled) and filled.holds(fewer) and not fewer.holds(filled)
    assert (
        whole.holds(DenseLayer()) and not filled.holds(DenseLayer()) and not whole.holds(WindowLayer((2, 2)))
    )
    assert not replace(whole, parts=(*whole.parts[:2], replace(whole.parts[2], window=(1, 2)))).holds(filled)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            (MAIN, RIGHT),
            "layer body: its parts must be rectangles, .* fill its plane of 5x5 outputs, each of",
        ),
        ((MAIN, RIGHT, BELOW, BELOW), "each of them once; window layers fit any plane"),
        ((MAIN, replace(RIGHT, window=(3, 2)), BELOW), "a window of 3x2 output pixels does not fit .* 5x1"),
        ((MAIN, replace(RIGHT, rows=85), BELOW), r"rows \(=85\) must be at most 84, the inputs of a window"),
    ],
)
def test_what_does_not_fit(parts: tuple[WindowPart, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        WindowMarginsLayer(parts).check(BODY)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (replace(BODY, input=(6, 5)), "its plane of 6x5 outputs"),
        (ConvShape("head", 4, 2, (1, 1), (1, 1), kind="linear"), "a window needs an output plane"),
        (replace(BODY, fixed="it has hooks"), "cannot be a window layer: it has hooks; make it dense"),
    ],
)
def test_layers_that_cannot_be_one(shape: ConvShape, message: str) -> None:
    with pytest.raises(InputError, match=message):
        KIND.check(shape)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"kind": "window-margins"}, "a window-margins layer needs parts"),
        ({"kind": "window-margins", "parts": [{"corner": [0, 0], "size": [1, 1]}]}, "needs window"),
        ({"kind": "window-margins", "parts": [MAIN_JSON := KIND.to_json()["parts"][0]]}, "two or more"),
        (
            {"kind": "window-margins", "parts": [{**MAIN_JSON, "corner": [0, -1]}, MAIN_JSON]},
            r"corner \(=\(0, -1\)\) of a part must be a pair of whole numbers from 0 on",
        ),
        (
            {"kind": "window-margins", "parts": [{**MAIN_JSON, "rows": 0}, MAIN_JSON]},
            r"rows \(=0\) must be a positive whole number",
        ),
    ],
)
def test_fields_that_no_layer_has(content: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind_from_json(content)


def test_supports_of_other_parts_are_refused() -> None:
    with pytest.raises(InputError, match="names the inputs of 1 part, and 2 parts drive only some; give one"):
        KIND.with_support("3 3 3 3")
    strips = [{**MAIN_JSON, "corner": [row, 0], "size": [1, 5]} for row in range(1100)]
    with pytest.raises(InputError, match="a plane in parts has at most 16, not 1,100"):
        kind_from_json({"kind": "window-margins", "parts": strips})
    layers = [{"name": "body", "kind": "window-margins", "parts": strips}]
    with pytest.raises(InputError):
        Plan.from_json({**Plan("net", (4, 5, 5), ArraySpec(8, 24), ()).to_json(), "layers": layers})
    plan = Plan("net", (4, 5, 5), ArraySpec(8, 24), (LayerPlan("body", KIND, mapping="im2col"),))
    content = plan.to_json()
    content["layers"][0]["parts"][0]["rowz"] = 1
    with pytest.raises(InputError, match="rowz"):
        Plan.from_json(content)


def test_uniform_plans_have_margins_where_they_save_cycles() -> None:
    """Two pixels of 512 outputs fit 1024 columns: 25 windows on a plane of 7x7, not 28."""
    first, last = ConvShape("first", 3, 8, (1, 1), (7, 7)), ConvShape("last", 8, 8, (1, 1), (1, 1))
    body = ConvShape("body", 16, 512, (3, 3), (7, 7), padding=(1, 1, 1, 1))
    array = ArraySpec(64, 1024)
    found = {}
    for runs in ((body,), (body, replace(body, name="body#2", weight="body", input=(5, 7)))):
        network = Network("net", (3, 7, 7), (first, *runs, last))
        plan = uniform_plan(network, array, Windows(row_tiles=1))
        found[len(runs)] = plan.layer("body")
        counted = network_cycles(network, plan).layers
        costs = [layer.chosen_cycles for layer in counted if layer.shape.weight == "body"]
        if len(runs) == 1:
            parts = cheapest_cover(body, array, 1)
            assert costs == [cover_cycles(body, parts, array, [64] * len(parts))] == [25]
    assert isinstance(found[1].kind, WindowMarginsLayer)
    assert found[1].reason.endswith("in parts of the plane, 3 cycles fewer than 1x2")
    # On two planes the margins of one are not those of the other; a window that was asked for stays as it is.
    assert isinstance(found[2].kind, WindowLayer)
    network = Network("net", (3, 7, 7), (first, body, last))
    asked = uniform_plan(network, array, Windows(row_tiles=1, window=(1, 2)))
    assert asked.layer("body").kind == WindowLayer((1, 2), 64)
