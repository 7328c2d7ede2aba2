"""The picture of one layer on its arrays: which cells hold which copy of the kernel, mapping by mapping."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rankfold.cost import planned_mapping
from rankfold.errors import InputError
from rankfold.files import write_bytes
from rankfold.mapping import LOW_RANK_METHODS, MAPPINGS, ArraySpec
from rankfold.plan import LayerPlan, LowRankLayer
from rankfold.report.arrays.layout import Layout
from rankfold.report.arrays.panel import Panel
from rankfold.report.arrays.sheet import smooth
from rankfold.report.arrays.words import layer_in_words, method_words
from rankfold.report.charts.drawing import (
    INCH,
    WIDTH,
    Chart,
    drawing_style,
    svg,
    svg_file,
)
from rankfold.report.kinds import picture_of
from rankfold.report.numbers import count, percent, size
from rankfold.report.tables import Table, table
from rankfold.workload.shape import ConvShape

# Of PNG files: letters stay sharp on paper.
PNG_DPI = 200
SVG, PNG = SUFFIXES = (".svg", ".png")


def dense_panels(shape: ConvShape, array: ArraySpec, methods: Sequence[str] = MAPPINGS) -> tuple[Panel, ...]:
    """A panel for each mapping of the layer; methods that lead to the same picture share one."""
    return planned_panels(shape, array, LayerPlan(shape.name), methods=methods)


def low_rank_panels(
    shape: ConvShape,
    array: ArraySpec,
    groups: int,
    rank: int,
    methods: Sequence[str] = LOW_RANK_METHODS,
) -> tuple[Panel, ...]:
    """A panel for each mapping of the low-rank pair that stands for the layer.

    Those that look alike share one.
    """
    entry = LayerPlan(shape.name, LowRankLayer(groups, rank))
    return planned_panels(shape, array, entry, methods=methods)


def planned_panels(
    shape: ConvShape,
    array: ArraySpec,
    entry: LayerPlan,
    mask: np.ndarray | None = None,
    methods: Sequence[str] = (),
) -> tuple[Panel, ...]:
    """A panel for the mapping that a plan chose for the layer, or for each of `methods`.

    Those that look alike share one.

    Args:
        shape: the layer.
        array: R x C.
        entry: what the plan says of it.
        mask: (m, C_in/G, kh, kw) booleans, the weights that a pattern-pruned layer keeps.
        methods: the mappings; empty: the plan's.

    Raises:
        InputError: the layer is pattern-pruned and its mask is missing, or row-sparse and its support is.
    """
    panels: list[Panel] = []
    for method in methods or (entry.mapping,):
        panels += panels_of(shape, array, replace(entry, mapping=method), mask)
    return _merged(panels)


def panels_of(
    shape: ConvShape, array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None = None
) -> tuple[Panel, ...]:
    """The panels of a layer under the mapping of its plan: one, or one for each part of its plane.

    Arguments and errors as `planned_panels`.
    """
    own = picture_of(entry.kind).panels(shape, array, entry, mask)
    if own:
        return own
    title, meaning = _words(shape, entry)
    return (Panel(title, meaning, planned_mapping(shape, array, entry, mask)),)


def _words(shape: ConvShape, entry: LayerPlan) -> tuple[str, str]:
    """Title and meaning of a layer's panel: those of its kind where it has any, else those of its mapping."""
    method, meaning = method_words(entry.mapping)
    words = picture_of(entry.kind).panel_words(entry.kind, shape)
    if words is None:
        return method, meaning
    # Of a layer that lies in one way, whatever is asked for, its name says that too.
    if len({entry.kind.mapping_for(mapping) for mapping in MAPPINGS}) == 1:
        return words.name, words.meaning
    return f"{words.name}, {method}", words.meaning


def _merged(panels: Iterable[Panel]) -> tuple[Panel, ...]:
    """The panels, one for those that look alike."""
    merged: list[Panel] = []
    for panel in panels:
        for number, other in enumerate(merged):
            if other.looks_like(panel):
                merged[number] = other.also(panel)
                break  # those before it look different from each other
        else:
            merged.append(panel)
    return tuple(merged)


def layer_chart(
    shape: ConvShape,
    array: ArraySpec,
    panels: Sequence[Panel],
    network: str = "",
) -> Chart:
    """The picture as an SVG element; all words, the legend's too, are in it.

    Args:
        shape: the dense layer.
        array: the array that the panels are mapped on.
        panels: one is drawn large, several below each other.
        network: its name for the title.
    """
    layout = Layout(shape, array, tuple(panels), network)
    told = "; ".join(panel.told for panel in panels)
    describe = f"{shape.name} ({layer_in_words(shape)}) on {array} arrays. {told}"
    drawn = svg(_id(shape.name), describe, layout.height, layout.draw)
    return Chart(smooth(drawn), table=_table(panels))


def _table(panels: Sequence[Panel]) -> Table:
    """Each stored matrix of each mapping, in numbers."""
    rows = []
    for panel in panels:
        for number, stage in enumerate(panel.stages):
            name = panel.title
            if len(panel.stages) > 1:
                name += f", stage {number + 1}"
            numbers = count(stage.tile_count), count(stage.cycles), percent(stage.utilisation, 1)
            rows.append([name, size(stage.window), *numbers, f"{stage.over_bound:.2f}"])
    return table(["mapping", "window", "arrays", "cycles", "utilisation", "over the lower bound"], rows)


def _id(name: str) -> str:
    """A layer's name as an id: letters, digits and dashes."""
    # Whatever else a user's name has could end the attribute that it stands in.
    letters = []
    for letter in name:
        if not letter.isalnum():
            letter = "-"
        letters.append(letter)
    return "cells-" + "".join(letters)


def write_layer_picture(
    path: str | Path,
    shape: ConvShape,
    array: ArraySpec,
    panels: Sequence[Panel],
    network: str = "",
) -> None:
    """Write the picture atomically to `path`, an .svg or .png file; the same layer gives the same bytes.

    Raises:
        InputError: `path` has another ending, or cannot be written.
    """
    check_suffix(path)
    if Path(path).suffix == SVG:
        content = svg_file(layer_chart(shape, array, panels, network).svg).encode()
    else:
        content = _png(Layout(shape, array, tuple(panels), network))
    write_bytes(path, content)


def check_suffix(path: str | Path) -> None:
    """Refuse what is no picture file.

    Raises:
        InputError: `path` ends neither in .svg nor in .png.
    """
    if Path(path).suffix not in SUFFIXES:
        raise InputError(f"picture {path} must be an .svg or a .png file")


def _png(layout: Layout) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with drawing_style():
        size = (WIDTH / INCH, layout.height / INCH)
        figure = Figure(figsize=size, dpi=PNG_DPI, facecolor="white")
        FigureCanvasAgg(figure)
        layout.draw(figure)
        content = io.BytesIO()
        # The software's name and version would be in it, and make files of two versions differ.
        figure.savefig(content, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return content.getvalue()


__all__ = [
    "Panel",
    "check_suffix",
    "dense_panels",
    "layer_chart",
    "low_rank_panels",
    "planned_panels",
    "write_layer_picture",
]
