"""The page of an exploration: one HTML file that needs nothing else, with a front to brush through."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rankfold.explore.exploration import Exploration
from rankfold.explore.front import ACCURACY, LOSS, Quantity
from rankfold.report.card import Card
from rankfold.report.exploration.figure import MOST_OTHERS, figure, in_signs, width
from rankfold.report.exploration.rows import (
    cells,
    headers,
    labels_of,
    reasons,
    shown_quantities,
    thinned,
    traded_in_words,
    value_of,
)
from rankfold.report.numbers import GAP
from rankfold.report.template import template

MOST_LINES = 2000  # points of the front that are drawn, and stand in the table
# Nothing that asks a server; boxes and lassos choose points.
SETTINGS = {"displaylogo": False, "responsive": True, "plotlyServerURL": ""}


def exploration_page(found: Exploration) -> str:
    """The page as text; the same exploration gives the same bytes."""
    points = thinned(found, MOST_LINES)
    drawn = None
    if points:
        drawn = figure(found, points, _others(found)).to_html(
            config=SETTINGS, include_plotlyjs=True, full_html=False, div_id="front"
        )
    wide = 0
    heads: list[str] = []
    if points:
        wide = width(found)
        # Places in a chip's file may be broken behind their steps.
        heads = [in_signs(name).replace("/", "/\u200b") for name in headers(found)]
    names = ", ".join(network.name for network in found.networks)
    chips = ", ".join(chip.name for chip in found.space.chips)
    return template("exploration.html").render(
        title=f"{names} on chips like {chips}",
        headline=f"{names} on chips like {chips}: {len(found.front):,} best trades among {found.runs:,} "
        "that run",
        traded=traded_in_words(found),
        cards=_cards(found),
        found=found,
        figure=drawn,
        width=wide,
        shown=len(points),
        measured=found.accuracies is not None,
        predicted=LOSS in found.objectives,
        headers=heads,
        words=1 + len(found.space.varying(len(found.networks))),
        rows=[cells(found, number) for number in points],
        reasons=reasons(found, 10),
    )


def _others(found: Exploration) -> list[int]:
    """Points that run and are not on the front; spread over all of them where there are many."""
    front = set(found.front)
    others = sorted(
        number
        for number, outcome in found.outcomes.items()
        if outcome.figures is not None and number not in front
    )
    if len(others) <= MOST_OTHERS:
        return others
    return [others[place] for place in np.linspace(0, len(others) - 1, MOST_OTHERS).astype(int).tolist()]


def _cards(found: Exploration) -> list[Card]:
    """The least of everything that the front trades, and how many points there are."""
    shown = [
        Card(f"{len(found.outcomes):,}", "points", f"{found.runs:,} run, {len(found.front):,} on the front")
    ]
    if not found.front:
        return shown
    traded = [one for one in shown_quantities(found) if one.name in found.objectives or one == ACCURACY]
    return shown + [_best_card(found, found.front, one) for one in traded if one.name != LOSS]


def _best_card(found: Exploration, front: Sequence[int], quantity: Quantity) -> Card:
    best = min(front, key=lambda number: (quantity.cost(value_of(found, number, quantity)), number))
    title, _, unit = in_signs(quantity.title).partition(", ")
    amount = f"{value_of(found, best, quantity):,.{quantity.digits}f}{GAP}{unit}"
    labels = labels_of(found, best)
    # Of places in a chip's file, what tells them apart.
    varying = found.space.varying(len(found.networks))
    words = ", ".join(f"{name.removeprefix('hardware/')} {labels[name]}" for name in varying)
    most = "most" if quantity.rises else "least"
    return Card(amount, f"{most} {title}", f"point {best}: {words}")
