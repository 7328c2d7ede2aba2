"""The graph that torch records of a run, from outputs to inputs: nodes are operations, edges are values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


def recorded(values: Tensor) -> Tensor:
    """An input of a network that a graph begins with; one that is not of floats as it is, as nothing is
    recorded of others.
    """
    if not values.is_floating_point():
        return values
    # Not the leaf itself, whose node in the graph has no handle before it is used.
    return values.detach().requires_grad_() * 1


def edges_of(roots: Sequence[Any]) -> dict[Any, list[Any]]:
    """For each operation, those whose values it reads."""
    read: dict[Any, list[Any]] = {}
    left = list(roots)
    while left:
        node = left.pop()
        if node not in read:
            read[node] = [other for other, _ in node.next_functions if other is not None]
            left += read[node]
    return read


def reached_from(roots: Sequence[Any], read: Mapping[Any, Sequence[Any]], without: set[Any]) -> set[Any]:
    """What is reached from the outputs backwards without some operations."""
    reached: set[Any] = set()
    left = list(roots)
    while left:
        node = left.pop()
        if node not in reached and node not in without:
            reached.add(node)
            left += read[node]
    return reached
