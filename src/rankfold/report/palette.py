"""One colour for each method, the same in every chart and table of a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankfold.runs.result import LayerResult, Result

INK, SOFT, LINE = "#1f2937", "#6b7280", "#e5e7eb"
PALE = "#d5dae1"

# Okabe & Ito's colour-blind safe hues, each with darker and lighter shades for several runs of one method.
SHADES = {
    "dense": ("#6b7280", "#374151", "#8b93a1"),
    "plain": ("#d55e00", "#8f3f00", "#cf8440"),
    "group": ("#0072b2", "#00395c", "#3d9bd6", "#5b6fae", "#1f8a99"),
    "mixed": ("#009e73", "#005c43", "#55a888"),
    "patdnn": ("#b0568a", "#7d2f5f", "#cc79a7", "#8d5a9e"),
    "pairs": ("#9a7b00", "#6b5500", "#bd9d1f", "#7f7a35"),
    "sparse": ("#6a4fb3", "#41307a", "#9380cf", "#57489c"),
    "support": ("#4d7c0f", "#2f4d08", "#7fa63f", "#5f7a3a"),
    "channel": ("#7a5c3e", "#513a25", "#a3835f"),
}


def method(result: Result) -> str:
    """What the run did with all layers: a key of `SHADES`.

    `plain` is low-rank without groups, `group` one g > 1, `sparse` low-rank of which R_ keeps e positions. There, 1x1
    convolutions, which have but one position, count as the others do.
    """
    what = {_what(layer) for layer in result.layers if layer.kind != "dense"}
    if any(name == "sparse" for name, *_ in what):
        pointwise = {layer.name for layer in result.layers if layer.shape is not None and layer.shape.kernel == (1, 1)}
        what = {_what(layer) for layer in result.layers if layer.kind != "dense" and layer.name not in pointwise}
    if not what:
        return "dense"
    return what.pop()[0] if len(what) == 1 else "mixed"


def _what(layer: LayerResult) -> tuple[str, int | None, int | None]:
    if layer.kind == "low-rank":
        name = "sparse" if layer.entries is not None else "plain" if layer.groups == 1 else "group"
        return name, layer.groups, layer.entries
    if layer.pruning is not None:
        return layer.pruning, None, layer.entries
    return "channel", None, None


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
