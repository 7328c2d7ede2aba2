"""Covers of planes by windows of several shapes: random ones for Hypothesis, and those of plans."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from rankfold.mapping.window_cover import PlanePart
from rankfold.plan import Plan, WindowLayer, WindowMarginsLayer
from rankfold.workload import ConvShape, Network
from rankfold.workload.shape import Pair


@st.composite
def covers_of(draw: st.DrawFn, plane: Pair, corner: Pair = (0, 0), cuts: int = 3) -> tuple[PlanePart, ...]:
    """Rectangles that straight cuts make of a plane, each with a window that fits it."""
    sides = [axis for axis in (0, 1) if plane[axis] > 1]
    if not cuts or not sides:
        window = draw(st.integers(1, min(4, plane[0]))), draw(st.integers(1, min(4, plane[1])))
        return (PlanePart(corner, plane, window),)
    axis = draw(st.sampled_from(sides))
    place = draw(st.integers(1, plane[axis] - 1))
    first, last, start = list(plane), list(plane), list(corner)
    first[axis], last[axis], start[axis] = place, plane[axis] - place, corner[axis] + place
    before = draw(st.integers(0, cuts - 1))
    return (
        *draw(covers_of((first[0], first[1]), corner, before)),
        *draw(covers_of((last[0], last[1]), (start[0], start[1]), cuts - 1 - before)),
    )


def in_parts(plan: Plan, network: Network) -> Plan:
    """The plan with every window layer of one large enough plane in three parts, whose windows overhang."""
    runs: dict[str, list[ConvShape]] = {}
    for shape in network.layers:
        runs.setdefault(shape.weight, []).append(shape)
    layers = []
    for layer in plan.layers:
        height, width = runs[layer.name][0].output
        alone = len(runs[layer.name]) == 1
        if isinstance(layer.kind, WindowLayer) and alone and min(height, width) > 2:
            a, b = layer.kind.window
            places = (
                PlanePart((0, 0), (height - 1, width - 2), (min(a, height - 1), min(b, width - 2))),
                PlanePart((0, width - 2), (height, 2), (min(3, height), 1)),
                PlanePart((height - 1, 0), (1, width - 2), (1, min(4, width - 2))),
            )
            kind = WindowMarginsLayer.of(places, runs[layer.name][0], layer.kind.rows)
            layer = replace(layer, kind=kind)
        layers.append(layer)
    return replace(plan, layers=tuple(layers))
