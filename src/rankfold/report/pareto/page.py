"""The page of a Pareto front: one HTML file that needs nothing else, with an interactive figure."""

from __future__ import annotations

from collections.abc import Sequence

from rankfold.planning.exact import LOSS, Candidate, total
from rankfold.planning.exact.quantities import KNOWN
from rankfold.report.card import Card
from rankfold.report.kinds import families
from rankfold.report.numbers import GAP, less
from rankfold.report.pareto.figure import figure
from rankfold.report.pareto.table import table_headers, table_rows
from rankfold.report.pareto.view import MOST_POINTS, WORDS, FrontView, amounts
from rankfold.report.template import template

# Rows of the table.
ROWS = 20
# Of the dense network's cost; each has a card.
SHARES = (0.75, 0.5, 0.25)
# From here on a number needs no digits behind the point.
MANY = 100
# Nothing that asks a server, and no tools that mean nothing on a line.
SETTINGS = {
    "displaylogo": False,
    "responsive": True,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
}


def page(view: FrontView) -> str:
    """The page as text; the same front gives the same bytes."""
    # With plotly itself inside: the page needs no server, and is as large as that.
    drawn = figure(view).to_html(
        config=SETTINGS,
        include_plotlyjs=True,
        full_html=False,
        div_id="front",
    )
    return template("front.html").render(
        title=f"{view.setting}: Pareto front of plans",
        headline=_headline(view),
        cards=_cards(view),
        figure=drawn,
        points=len(view.front),
        shown=len(view.front.thinned(MOST_POINTS)),
        quantity=view.front.quantity,
        hardware=view.hardware,
        layers=len(view.open_layers),
        headers=table_headers(view),
        families=len(families()),
        rows=table_rows(view, ROWS),
    )


def _headline(view: FrontView) -> str:
    front = view.front
    low = _amount(view, front.costs[0])
    high = _amount(view, front.costs[-1])
    # One point is the dense network, where nothing can change.
    plans = f"no plan is better than that of {low}"
    if len(front) > 1:
        plans = f"{len(front):,} best plans, {low} to {high}"
    return f"{view.setting}: {plans} {_what(view)}"


def _what(view: FrontView) -> str:
    """What an amount is of: `cycles per image`, or behind a unit `of energy per image`."""
    quantity = view.front.quantity
    if KNOWN[quantity].counted:
        return WORDS[quantity]
    return f"of {WORDS[quantity]}"


def _cards(view: FrontView) -> list[Card]:
    """What the dense network costs, what is lost at some shares of it, and the plan that was made."""
    what = WORDS[view.front.quantity]
    shown = [Card(_amount(view, view.dense_cost), what, "dense network")]
    for share in SHARES:
        point = view.within(share)
        if point is not None:
            shown.append(_point_card(view, share, point, what))
    if view.chosen is not None:
        shown.append(_plan_card(view, view.chosen, what))
    return shown


def _point_card(view: FrontView, share: float, point: int, what: str) -> Card:
    lost = f"+{view.front.losses[point]:.3g}"
    cost = _amount(view, view.front.costs[point])
    return Card(lost, f"{view.unit} of loss at {100 * share:.0f}{GAP}%", f"{cost} {what}")


def _plan_card(view: FrontView, plan: Sequence[Candidate], what: str) -> Card:
    cost = total(plan, view.front.quantity)
    saving = less(1 - view.share(cost))
    lost = f"+{total(plan, LOSS):.3g} {view.unit} of loss"
    return Card(_amount(view, cost), what, f"chosen plan: {saving} than dense, {lost}")


def _amount(view: FrontView, cost: float) -> str:
    """A cost with its unit."""
    known = KNOWN[view.front.quantity]
    amount = float(amounts(known.name, cost))
    if known.counted:
        return f"{amount:,.0f}"
    # Nanojoules are many, microseconds and square millimetres few.
    digits = 0 if amount >= MANY else known.digits
    return f"{amount:,.{digits}f}{GAP}{known.unit}"
