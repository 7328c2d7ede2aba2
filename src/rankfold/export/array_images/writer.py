"""What the writers of steps have in common: steps, arguments, and the program that they write into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from torch import fx

Step = dict[str, Any]


class ProgramWriter(Protocol):
    """What a writer of a step asks the writer of the program."""

    def name(self, node: Any) -> str:
        """The name of a node's value."""

    def is_constant(self, node: fx.Node) -> bool:
        """Whether a value is the same for all images."""

    def array(self, node: Any) -> np.ndarray:
        """The value of a constant, float64."""

    def constant(self, name: str, value: np.ndarray) -> str:
        """Keep an array under a name; the name."""

    def operand(self, value: Any, place: int) -> str:
        """The name of an operand, which may be a number or a stored array."""


# What a writer of a step gets: the writer of the program, the node, its arguments. It gives the step
# without its output; or several whole steps, the last of which gives the node's value; or the name of the
# value that the node hands on; or None where the step cannot say what the node does. Torch leaves arguments
# out at the end that have their default.
Arguments = list[Any]
WriteStep = Callable[[ProgramWriter, fx.Node, Arguments], Step | list[Step] | str | None]


def with_defaults(args: Arguments, *defaults: Any) -> Arguments:
    """The arguments, with the defaults of those that were left out."""
    return [*args, *defaults[len(args) :]]


def part_name(node: fx.Node, part: str) -> str:
    """The name of a value in between, where a node takes several steps."""
    return f"{node.name}_{part}"


def is_of_images(x: fx.Node, axis: int) -> bool:
    """Whether an axis of a value is that of the images, along which no step of an array image computes."""
    return bool(axis % x.meta["val"].ndim == 0)
