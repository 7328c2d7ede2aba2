"""Which arrays layers run on: weights that are used several times are stored once where cells agree.

A weight may run several times for an image, in one module or in several that share a parameter, and on planes
of several sizes. Two of these runs use the same arrays if these hold the same weights in the same cells,
which a mapping decides that cuts its window to the plane: 4x4 pixels on a plane of 16x16, 2x2 on one of 2x2,
are two ways to store a weight, and take two sets of arrays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from rankfold.cost.kinds import AnyMapping
from rankfold.mapping import Mapping
from rankfold.mapping.stored import held_together

Stage = TypeVar("Stage")


def homes(
    parameters: Sequence[str], stages: Sequence[Sequence[Stage]], held: Callable[[Stage], Hashable]
) -> list[tuple[Hashable, ...]]:
    """The arrays that each stage of each run uses, as a key: those of one key are the same arrays.

    Stages of different places in their layers, as both of a low-rank pair, never share any.

    Args:
        parameters: the name of what each run stores, see `ConvShape.stored`.
        stages: the stored convolutions of each run: one, two for a low-rank pair, several for parts of a
            plane.
        held: what arrays hold of a stage, on which cells. Asked for only where a parameter is used several
            times, since it takes time to find.
    """
    uses = Counter(parameters)
    found: list[tuple[Hashable, ...]] = []
    for parameter, own in zip(parameters, stages, strict=True):
        keys: list[Hashable] = []
        for number, stage in enumerate(own):
            if uses[parameter] == 1:
                keys.append((parameter, number))
            else:
                keys.append((parameter, number, held(stage)))
        found.append(tuple(keys))
    return found


def homes_of_weight(runs: Sequence[AnyMapping]) -> list[tuple[Hashable, ...]]:
    """The same for the runs of one weight under one entry of a plan, as they are mapped."""
    return homes(("",) * len(runs), [run.stages for run in runs], held_by)


def stored_once(runs: Sequence[AnyMapping]) -> list[Mapping]:
    """The stages of the runs of one weight, one for each set of arrays."""
    found: dict[Hashable, Mapping] = {}
    for keys, run in zip(homes_of_weight(runs), runs, strict=True):
        for key, stage in zip(keys, run.stages, strict=True):
            found.setdefault(key, stage)
    return list(found.values())


def held_by(stage: Mapping) -> Hashable:
    """What the arrays of a mapped convolution hold of a parameter, counted in weights."""
    return held_together(stored for stored, _ in stage.loads)
