"""One colour for each method, the same in every chart and table of a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankfold.pipeline.result import Result

INK, SOFT, LINE = "#1f2937", "#6b7280", "#e5e7eb"
PALE = "#d5dae1"

# Okabe & Ito's colour-blind safe hues, each with darker and lighter shades for several runs of one method.
SHADES = {
    "dense": ("#6b7280", "#374151", "#8b93a1"),
    "plain": ("#d55e00", "#8f3f00", "#cf8440"),
    "group": ("#0072b2", "#00395c", "#3d9bd6", "#5b6fae", "#1f8a99"),
    "mixed": ("#009e73", "#005c43", "#55a888"),
}


def method(result: Result) -> str:
    """`dense`, `plain` (low-rank without groups), `group` (one g > 1 for all layers) or `mixed` (several g)."""
    groups = {layer.groups for layer in result.layers if layer.kind == "low-rank"}
    if not groups:
        return "dense"
    if len(groups) > 1:
        return "mixed"
    return "plain" if groups == {1} else "group"


def colours(results: Sequence[Result]) -> tuple[str, ...]:
    """A colour for each result, by its method; several results of one method get different shades of it."""
    seen: dict[str, int] = {}
    found = []
    for result in results:
        name = method(result)
        shades = SHADES[name]
        found.append(shades[seen.get(name, 0) % len(shades)])
        seen[name] = seen.get(name, 0) + 1
    return tuple(found)
