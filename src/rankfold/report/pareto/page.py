"""The page of a Pareto front: one HTML file that needs nothing else, with an interactive figure."""

from __future__ import annotations

from rankfold.planning.exact import ARRAYS, CYCLES, ENERGY, LOSS, total
from rankfold.report.facts import GAP, Card, less
from rankfold.report.page import template
from rankfold.report.pareto.figure import MOST, figure
from rankfold.report.pareto.table import table_headers, table_rows
from rankfold.report.pareto.view import FrontView, amounts

ROWS = 20  # of the table
SHARES = (0.75, 0.5, 0.25)  # of the dense network's cost, that have a card each
WORDS = {CYCLES: "cycles per image", ARRAYS: "arrays", ENERGY: "of energy per image"}
SETTINGS = {"displaylogo": False, "responsive": True, "plotlyServerURL": "", "modeBarButtonsToRemove": ["select2d", "lasso2d"]}


def page(view: FrontView) -> str:
    """The page as text; the same front gives the same bytes."""
    shown = len(view.front.thinned(MOST))
    return template("front.html").render(
        title=f"{view.setting}: Pareto front of plans",
        headline=_headline(view),
        cards=_cards(view),
        figure=figure(view).to_html(config=SETTINGS, include_plotlyjs=True, full_html=False, div_id="front"),
        points=len(view.front),
        shown=shown,
        quantity=view.front.quantity,
        layers=len(view.open_layers),
        headers=table_headers(view),
        rows=table_rows(view, ROWS),
    )


def _headline(view: FrontView) -> str:
    front = view.front
    low, high = (_amount(view, front.costs[point]) for point in (0, -1))
    plans = f"{len(front):,} best plans, {low} to {high}" if len(front) > 1 else f"no plan is better than that of {low}"
    return f"{view.setting}: {plans} {WORDS[front.quantity]}"


def _cards(view: FrontView) -> list[Card]:
    """What the dense network costs, what is lost at some shares of it, and the plan that was made."""
    front = view.front
    words = WORDS[front.quantity].removeprefix("of ")
    found = [Card(_amount(view, view.dense_cost), words, "dense network")]
    for share in SHARES:
        point = view.within(share)
        if point is not None:
            more = f"{_amount(view, front.costs[point])} {words}"
            found.append(Card(f"+{front.losses[point]:.3g}", f"nats of loss at {100 * share:.0f}{GAP}%", more))
    if view.chosen is not None:
        cost = total(view.chosen, front.quantity)
        more = f"chosen plan: {less(1 - view.share(cost))} than dense, +{total(view.chosen, LOSS):.3g} nats of loss"
        found.append(Card(_amount(view, cost), words, more))
    return found


def _amount(view: FrontView, cost: float) -> str:
    quantity = view.front.quantity
    return f"{float(amounts(quantity, cost)):,.0f}{f'{GAP}nJ' if quantity == ENERGY else ''}"
