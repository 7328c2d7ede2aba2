"""What a layer can be looked at as: under every mapping and many windows, and as a plan has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankfold.cost import Masks
from rankfold.mapping import MAPPINGS, ArraySpec
from rankfold.mapping.names import window_name
from rankfold.plan import LayerPlan, Plan
from rankfold.report.arrays.panel import Panel
from rankfold.report.arrays.picture import panels_of
from rankfold.report.kinds import picture_of
from rankfold.report.kinds.kind import Channels
from rankfold.workload import ConvShape, Network
from rankfold.workload.shape import Pair

# Pixels; windows of more are offered where their outputs fit the columns of an array.
FEW = 8
# Sides of windows of more pixels than that, which are very many: these and powers of two.
SIDES = (1, 2, 3)
DENSE, PLANNED = "dense layer", "as planned"


@dataclass(frozen=True)
class Choice:
    """One way to see a layer.

    Attributes:
        group: what it is of: `dense layer`, or what the plan makes of it.
        name: of the mapping.
        window: its name, such as `2x4`, where it is one of many windows; else empty.
        panel: what there is to see.
        channels: which channels of the layer its inputs and its outputs are.
    """

    group: str
    name: str
    window: str
    panel: Panel
    channels: tuple[Channels, Channels] = (None, None)


@dataclass(frozen=True)
class LayerChoices:
    """A layer with all that it can be looked at as.

    Attributes:
        shape: the layer.
        choices: at least one.
        first: the number of the one that the plan has.
        skipped: whether the plan stores nothing of it, so that all choices are of the layer as it was.
    """

    shape: ConvShape
    choices: tuple[Choice, ...]
    first: int
    skipped: bool = False


def network_choices(network: Network, plan: Plan, masks: Masks) -> Iterator[LayerChoices]:
    """Every layer of a network, layers of equal shape and plan with the very same choices.

    Args:
        network: the network.
        plan: what becomes of it, on which arrays.
        masks: (m, C_in/G, kh, kw) booleans by layer, where only its weights know which of them it keeps.

    Raises:
        InputError: see `report.arrays.picture.planned_panels`.
    """
    known: dict[object, tuple[tuple[Choice, ...], int]] = {}
    for shape in network.layers:
        entry = plan.layer(shape.weight)
        mask = masks.get(shape.weight)
        kept = b""
        if mask is not None:
            kept = mask.tobytes()
        key = shape.anonymous, replace(entry, name=""), kept
        if key not in known:
            known[key] = _choices(shape, plan.array, entry, mask)
        choices, first = known[key]
        yield LayerChoices(shape, choices, first, not entry.kind.computes)


def _choices(
    shape: ConvShape, array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None
) -> tuple[tuple[Choice, ...], int]:
    """All choices of a layer, and the number of the one that the plan has."""
    planned: list[Choice] = []
    if entry.kind.changes_weight and entry.kind.computes:
        for mapping in dict.fromkeys((entry.mapping, *entry.kind.mappings)):
            planned += _of_plan(shape, array, replace(entry, mapping=mapping), mask)
    mappings = [*MAPPINGS, *(window_name([window]) for window in offered_windows(shape, array))]
    # A plan may name a window that is not offered.
    if not planned and entry.mapping not in mappings:
        mappings.append(entry.mapping)
    choices = (*planned, *_of_mappings(shape, array, mappings))
    if planned:
        return choices, 0
    return choices, mappings.index(entry.mapping)


def _of_plan(
    shape: ConvShape, array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None
) -> Iterator[Choice]:
    """What the layer becomes: one picture, or one for each part of its plane."""
    channels = picture_of(entry.kind).channels(entry.kind, shape)
    for panel in panels_of(shape, array, entry, mask):
        yield Choice(PLANNED, panel.title, "", panel, channels)


def _of_mappings(shape: ConvShape, array: ArraySpec, mappings: Sequence[str]) -> Iterator[Choice]:
    """The dense layer under some mappings."""
    for mapping in mappings:
        (panel,) = panels_of(shape, array, LayerPlan(shape.name, mapping=mapping))
        window = ""
        if mapping not in MAPPINGS:
            window = mapping
        yield Choice(DENSE, panel.title, window, panel)


def offered_windows(shape: ConvShape, array: ArraySpec) -> list[Pair]:
    """Windows (a, b) of output pixels that are worth a look, small ones first.

    Those of few pixels, and larger ones whose outputs, N m / G, still fit the columns of an array.

    Args:
        shape: the layer.
        array: R x C, columns counted in weights.
    """
    most = max(FEW, array.columns // (shape.m // shape.groups))
    height, width = shape.output
    windows = []
    for a in range(1, height + 1):
        for b in range(1, width + 1):
            small = a * b <= FEW
            round_sides = _is_round(a) and _is_round(b)
            if a * b <= min(most, array.columns) and (small or round_sides):
                windows.append((a, b))
    return sorted(windows, key=lambda window: (window[0] * window[1], window))


def _is_round(side: int) -> bool:
    return side in SIDES or side & (side - 1) == 0
