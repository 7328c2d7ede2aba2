"""The picture of one layer on its arrays: which cells hold which shifted copy of the kernel, mapping by mapping."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from rankfold.errors import InputError
from rankfold.files import write_bytes
from rankfold.mapping import LOW_RANK_METHODS, METHODS, ArraySpec, map_layer, map_low_rank
from rankfold.report.array_drawing.layout import Layout
from rankfold.report.array_drawing.panel import Panel
from rankfold.report.array_drawing.sheet import smooth
from rankfold.report.array_drawing.words import MEANINGS, METHOD_NAMES, layer_in_words
from rankfold.report.drawing import MISSING_GLYPH, STYLE, WIDTH, Chart, svg
from rankfold.report.picture import HEAD
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
    name = "Low-rank" if groups == 1 else "Group low-rank"
    meaning = f"rank {rank}" if groups == 1 else f"{groups} groups, rank {rank} each"
    return _merged(
        Panel(f"{name}, {METHOD_NAMES[method]}", meaning, map_low_rank(shape, array, groups, rank, method)) for method in methods
    )


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


__all__ = ["Panel", "check_suffix", "dense_panels", "layer_chart", "low_rank_panels", "write_layer_picture"]
