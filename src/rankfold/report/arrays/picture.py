"""The picture of one layer on its arrays: which cells hold which shifted copy of the kernel, mapping by mapping."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rankfold.cost import planned_mapping
from rankfold.errors import InputError
from rankfold.files import write_bytes
from rankfold.mapping import LOW_RANK_METHODS, METHODS, ArraySpec, map_layer, map_low_rank
from rankfold.plan import LOW_RANK, PRUNED, LayerPlan
from rankfold.plan.pruned import TITLES
from rankfold.report.arrays.layout import Layout
from rankfold.report.arrays.panel import Panel
from rankfold.report.arrays.sheet import smooth
from rankfold.report.arrays.words import MEANINGS, METHOD_NAMES, layer_in_words
from rankfold.report.charts.drawing import MISSING_GLYPH, STYLE, WIDTH, Chart, svg
from rankfold.report.charts.picture import HEAD
from rankfold.workload.shape import ConvShape

PNG_DPI = 200
SUFFIXES = (".svg", ".png")


def dense_panels(shape: ConvShape, array: ArraySpec, methods: Sequence[str] = METHODS) -> tuple[Panel, ...]:
    """A panel for each mapping of the layer; methods that lead to the same picture share one."""
    return _merged(Panel(METHOD_NAMES[method], MEANINGS[method], map_layer(shape, array, method)) for method in methods)


def low_rank_panels(
    shape: ConvShape, array: ArraySpec, groups: int, rank: int, methods: Sequence[str] = LOW_RANK_METHODS
) -> tuple[Panel, ...]:
    """A panel for each mapping of the low-rank pair that stands for the layer; those that look alike share one."""
    name, meaning = _pair_in_words(groups, rank)
    return _merged(
        Panel(f"{name}, {METHOD_NAMES[method]}", meaning, map_low_rank(shape, array, groups, rank, method)) for method in methods
    )


def planned_panels(
    shape: ConvShape, array: ArraySpec, entry: LayerPlan, mask: np.ndarray | None = None, methods: Sequence[str] = ()
) -> tuple[Panel, ...]:
    """A panel for the mapping that a plan chose for the layer, or for each of `methods`; those that look alike share one.

    Raises:
        InputError: the layer is pattern-pruned and its mask is missing, or row-sparse and its support is.
    """
    kept = f"{entry.entries} of {shape.kernel[0] * shape.kernel[1]} positions"
    name, meaning = "", ""
    if entry.kind == LOW_RANK:
        name, meaning = _pair_in_words(entry.groups or 1, entry.rank or 1)
        if entry.entries is not None:
            name, meaning = "Row-sparse low-rank", f"{meaning}, {kept} of each input channel"
    elif entry.kind == PRUNED and entry.pruning is not None:
        title = TITLES[entry.pruning]
        name, meaning = title[0].upper() + title[1:], f"{kept}; a row that nothing in a tile needs is skipped"
    entries = [replace(entry, mapping=method) for method in methods or (entry.mapping,)]
    return _merged(
        Panel(
            f"{name}, {METHOD_NAMES[each.mapping]}" if name else METHOD_NAMES[each.mapping], meaning or MEANINGS[each.mapping],
            planned_mapping(shape, array, each, mask),
        )
        for each in entries
    )  # fmt: skip


def _pair_in_words(groups: int, rank: int) -> tuple[str, str]:
    if groups == 1:
        return "Low-rank", f"rank {rank}"
    return "Group low-rank", f"{groups} groups, rank {rank} each"


def _merged(panels: Iterable[Panel]) -> tuple[Panel, ...]:
    found: list[Panel] = []
    for panel in panels:
        same = next((number for number, other in enumerate(found) if other.looks_like(panel)), None)
        if same is None:
            found.append(panel)
        else:
            found[same] = found[same].also(panel)
    return tuple(found)


def layer_chart(shape: ConvShape, array: ArraySpec, panels: Sequence[Panel], network: str = "") -> Chart:
    """The picture as an SVG element; all words, the legend's too, are in it.

    Args:
        shape: the dense layer.
        array: the array that the panels are mapped on.
        panels: one is drawn large, several below each other.
        network: its name for the title.
    """
    layout = Layout(shape, array, tuple(panels), network)
    name = "cells-" + "".join(letter if letter.isalnum() else "-" for letter in shape.name)
    told = "; ".join(panel.told for panel in panels)
    describe = f"{shape.name} ({layer_in_words(shape)}) on {array} arrays. {told}"
    return Chart(smooth(svg(name, describe, layout.height, layout.draw)))


def write_layer_picture(path: str | Path, shape: ConvShape, array: ArraySpec, panels: Sequence[Panel], network: str = "") -> None:
    """Write the picture atomically to `path`, an .svg or .png file; the same layer gives the same bytes.

    Raises:
        InputError: `path` has another ending, or cannot be written.
    """
    check_suffix(path)
    if Path(path).suffix == ".svg":
        element = layer_chart(shape, array, panels, network).svg
        write_bytes(path, (element.replace("<svg ", HEAD, 1) + "\n").encode())
    else:
        write_bytes(path, _png(Layout(shape, array, tuple(panels), network)))


def check_suffix(path: str | Path) -> None:
    """Refuse what is no picture file.

    Raises:
        InputError: `path` ends neither in .svg nor in .png.
    """
    if Path(path).suffix not in SUFFIXES:
        raise InputError(f"picture {path} must be an .svg or a .png file")


def _png(layout: Layout) -> bytes:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", MISSING_GLYPH)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(WIDTH / 72, layout.height / 72), dpi=PNG_DPI, facecolor="white")
        FigureCanvasAgg(figure)
        layout.draw(figure)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return content.getvalue()


__all__ = ["Panel", "check_suffix", "dense_panels", "layer_chart", "low_rank_panels", "planned_panels", "write_layer_picture"]
