"""`Space`: chips and plans to explore, and the points that they make."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

from rankfold.explore.fields import with_fields
from rankfold.explore.plans import DENSE, PlanChoice
from rankfold.machine import ChipSpec
from rankfold.workload import Network


@dataclass(frozen=True)
class Choice:
    """One value of an axis.

    Attributes:
        label: what tables call it.
        changes: values by the places of fields, in the unit that is computed with.
    """

    label: str
    changes: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Axis:
    """What varies: one field of a chip, or several of a section together.

    Attributes:
        place: of the field or section in the chip's file.
        choices: its values.
        early: its turn, see `Field`.
    """

    place: str
    choices: tuple[Choice, ...]
    early: int


@dataclass(frozen=True)
class Point:
    """One chip for one network under one plan.

    Attributes:
        number: of the point; the same for the same space and networks.
        network: index of the network.
        plan: index of the plan.
        chip: index of the chip whose fields vary.
        values: index of the choice of each axis.
    """

    number: int
    network: int
    plan: int
    _: KW_ONLY
    chip: int
    values: tuple[int, ...]


@dataclass(frozen=True)
class Space:
    """Chips and plans to explore.

    Attributes:
        chips: whose fields vary.
        axes: what varies, in an order in which what much depends on changes slowest.
        plans: what layers become.
        objective: what copies and mappings of every point make small, one of `chip.best.OBJECTIVES`; None:
            the interval, but for plans that were made for the chip of a point, which keep their copies.
        warnings: sentences about values far from what is known, and about what does not vary with them.
        content: what the file says.
    """

    chips: tuple[ChipSpec, ...]
    axes: tuple[Axis, ...] = ()
    plans: tuple[PlanChoice, ...] = (DENSE,)
    _: KW_ONLY
    objective: str | None = None
    warnings: tuple[str, ...] = ()
    content: Mapping[str, Any] | None = None

    def sizes(self, networks: int) -> tuple[int, ...]:
        """How many networks, plans, chips, and choices of each axis there are."""
        return networks, len(self.plans), len(self.chips), *(len(axis.choices) for axis in self.axes)

    def size(self, networks: int) -> int:
        """Points for so many networks."""
        return math.prod(self.sizes(networks))

    def point(self, number: int, networks: int) -> Point:
        """The point of a number, which changes the last axis fastest."""
        indices = []
        left = number
        for size in reversed(self.sizes(networks)):
            left, index = divmod(left, size)
            indices.append(index)
        network, plan, chip, *values = reversed(indices)
        return Point(number, network, plan, chip=chip, values=tuple(values))

    def number(self, indices: Sequence[int], networks: int) -> int:
        """The number of the point with these indices, in the order of `sizes`."""
        number = 0
        for index, size in zip(indices, self.sizes(networks), strict=True):
            number = number * size + index
        return number

    def chip(self, point: Point) -> ChipSpec:
        """The chip of a point.

        Raises:
            InputError: its values contradict each other.
        """
        changes: dict[str, Any] = {}
        words = []
        for axis, value in zip(self.axes, point.values, strict=True):
            choice = axis.choices[value]
            changes |= dict(choice.changes)
            words.append(f"{axis.place} {choice.label}")
        chip = with_fields(self.chips[point.chip], changes)
        if not words:
            return chip
        return replace(chip, name=f"{chip.name} with {', '.join(words)}")

    def labels(self, point: Point, networks: Sequence[Network]) -> dict[str, str]:
        """What a point is, by what varies: for tables."""
        found = {"network": networks[point.network].name, "plan": self.plans[point.plan].name}
        found["chip"] = self.chips[point.chip].name
        for axis, value in zip(self.axes, point.values, strict=True):
            found[axis.place] = axis.choices[value].label
        return found

    def varying(self, networks: int) -> tuple[str, ...]:
        """The keys of `labels` that have several values."""
        names = ("network", "plan", "chip", *(axis.place for axis in self.axes))
        return tuple(name for name, size in zip(names, self.sizes(networks), strict=True) if size > 1)
