"""The page on which every layer of a network is stepped through on its arrays: one HTML file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankfold.files import write_text
from rankfold.mapping import ArraySpec, Mapping
from rankfold.report.arrays.words import caption, layer_in_words
from rankfold.report.mapper.choices import Choice, LayerChoices
from rankfold.report.mapper.rule import Rule, Tables, stage_rule
from rankfold.report.numbers import plural
from rankfold.report.run_page.page import check_page
from rankfold.report.template import template
from rankfold.workload import ConvShape

STAGES = ("stage 1, R", "stage 2, L")


def write_mapper(
    path: str | Path, network: str, array: ArraySpec, layers: Sequence[LayerChoices], first: str = ""
) -> None:
    """Write the page atomically to `path`.

    Args:
        path: the HTML file.
        network: its name.
        array: what it is mapped on.
        layers: of the network, at least one.
        first: the layer that the page shows at first; empty: the first one.

    Raises:
        InputError: the file cannot be written, or must not be replaced.
    """
    check_page(path)
    write_text(path, render_mapper(network, array, layers, first))


def render_mapper(network: str, array: ArraySpec, layers: Sequence[LayerChoices], first: str = "") -> str:
    """The page as text; the same layers give the same bytes."""
    tables = Tables()
    # Layers that are alike share what is said of them.
    numbers: dict[int, int] = {}
    seen: list[list[Rule]] = []
    listed: list[Rule] = []
    for layer in layers:
        key = id(layer.choices)
        if key not in numbers:
            numbers[key] = len(seen)
            seen.append([_choice_rule(layer.shape, choice, tables) for choice in layer.choices])
        words = layer_in_words(layer.shape)
        if layer.skipped:
            words += "; the plan skips it, so that this is the layer as it was"
        listed.append(
            {"name": layer.shape.name, "words": words, "choices": numbers[key], "first": layer.first}
        )
    names = [layer.shape.name for layer in layers]
    data = {
        "layers": listed,
        "choices": seen,
        "start": names.index(first) if first else 0,
        "masks": tables.masks,
        "colours": tables.colours,
    }
    amount = len(layers)
    return template("mapper.html").render(
        title=f"{network} on {array} arrays",
        headline=f"{network}: {amount} {plural('layer', amount)} on {array} arrays, activation by activation",
        data=_in_script(data),
    )


def _choice_rule(shape: ConvShape, choice: Choice, tables: Tables) -> Rule:
    rule: Rule = {
        "group": choice.group,
        "name": choice.name,
        "window": choice.window,
        "says": choice.panel.meaning,
        "sums": choice.panel.sums or "",
        "stages": _stages(choice.panel.stages, tables),
    }
    corner = choice.panel.corner
    if corner is not None:
        # The first input that the part reads, padding included, in those of the layer.
        top, _, left, _ = shape.padding
        rule["corner"] = corner
        rule["from"] = [corner[0] * shape.stride[0] - top, corner[1] * shape.stride[1] - left]
        rule["whole"] = shape.input
    for side, channels in zip(("inputs", "outputs"), choice.channels, strict=True):
        if channels is not None:
            rule[side] = channels
    return rule


def _stages(stages: Sequence[Mapping], tables: Tables) -> list[Rule]:
    rules = []
    for number, (stage, name) in enumerate(zip(stages, STAGES, strict=False)):
        rule = stage_rule(stage, tables, second=number == 1)
        rule["name"] = name
        rule["caption"] = caption(stage)
        rules.append(rule)
    return rules


def _in_script(data: dict[str, Any]) -> str:
    """JSON that may stand in a script element: no name of a user's ends it."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c")
