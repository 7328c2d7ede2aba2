"""Mappings as notebooks show them: the layer on its arrays, cell by cell."""

from __future__ import annotations

from rankfold.cost.kinds import AnyMapping
from rankfold.mapping import LowRankMapping, Mapping
from rankfold.mapping.parts import PartsMapping
from rankfold.report.arrays.panel import Panel
from rankfold.report.arrays.picture import layer_chart
from rankfold.report.arrays.words import layer_in_words, method_words
from rankfold.report.charts.drawing import svg_file
from rankfold.report.numbers import count, percent, size
from rankfold.report.rich.sheet import Sheet, sheet_of


@sheet_of.register
def _of_mapping(mapping: Mapping) -> Sheet:
    title, meaning = method_words(mapping.method)
    return _drawn(mapping, f"{title} of {_name(mapping)}: {meaning}")


@sheet_of.register
def _of_pair(mapping: LowRankMapping) -> Sheet:
    title, _ = method_words(mapping.method)
    return _drawn(mapping, f"{title} of a low-rank pair for {_name(mapping)}")


@sheet_of.register
def _of_parts(mapping: PartsMapping) -> Sheet:
    return _drawn(mapping, f"{_name(mapping)}, its plane in {len(mapping.stages)} parts")


def _name(mapping: AnyMapping) -> str:
    return mapping.stages[0].shape.name or "a layer"


def _drawn(mapping: AnyMapping, title: str) -> Sheet:
    """The picture of the arrays above a table of the stored matrices."""
    first = mapping.stages[0]
    method, meaning = method_words(mapping.method)
    panel = Panel(method, meaning, mapping)
    chart = layer_chart(first.shape, mapping.array, (panel,))
    rows = []
    for stage in mapping.stages:
        cells = [layer_in_words(stage.shape), size(stage.window), count(stage.tile_count)]
        cells += [count(stage.cycles), percent(stage.utilisation, 1), count(stage.conversions)]
        rows.append(tuple(cells))
    return Sheet(
        title=title,
        facts=(("cycles", count(mapping.cycles)), ("array", str(mapping.array))),
        headers=("stored matrix", "window", "arrays", "cycles", "in use", "ADC conversions"),
        rows=tuple(rows),
        picture=svg_file(chart.svg),
        told=panel.told,
    )
