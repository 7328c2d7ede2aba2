"""Fronts and chosen plans as notebooks show them."""

from __future__ import annotations

from rankfold.planning.exact import Candidate, Front, Surface, in_units
from rankfold.planning.exact.quantities import KNOWN
from rankfold.report.numbers import count
from rankfold.report.pareto.chart import picture
from rankfold.report.pareto.view import FrontView
from rankfold.report.rich.sheet import Sheet, sheet_of

SHOWN = 12  # points of a front in the table


@sheet_of.register
def _of_front(front: Front) -> Sheet:
    quantity = KNOWN[front.quantity]
    rows = []
    for point in front.thinned(SHOWN):
        changed = _changed(front.chosen(point))
        rows.append((in_units(front.quantity, front.costs[point]), f"{front.losses[point]:.4g}", changed))
    drawn = ""
    dense = _as_they_are(front)
    if dense is not None:
        drawn = picture(FrontView(front, dense))
    words = f"{count(len(front))} plans: no other costs as little and is predicted to lose as little"
    return Sheet(
        title=f"Front of {quantity.title}: {words}",
        headers=(quantity.title, "predicted loss", "layers changed"),
        rows=tuple(rows),
        picture=drawn,
        told=f"predicted loss against {quantity.title}",
    )


@sheet_of.register
def _of_surface(surface: Surface) -> Sheet:
    titles = [KNOWN[quantity].title for quantity in surface.quantities]
    rows = []
    for point in surface.thinned(SHOWN):
        costs = zip(surface.quantities, surface.costs[point], strict=True)
        amounts = [in_units(quantity, amount) for quantity, amount in costs]
        rows.append((*amounts, f"{surface.losses[point]:.4g}", _changed(surface.chosen(point))))
    return Sheet(
        title=f"Front of {' and '.join(titles)}: {count(len(surface))} plans, {surface.in_words()}",
        headers=(*titles, "predicted loss", "layers changed"),
        rows=tuple(rows),
    )


def _as_they_are(front: Front) -> tuple[Candidate, ...] | None:
    """Every layer kept, at its least cost; None: some layer has to change."""
    kept = []
    for layer in front.choices:
        same = [candidate for candidate in layer if not candidate.entry.kind.changes_weight]
        if not same:
            return None
        kept.append(min(same, key=lambda candidate: (candidate.cost(front.quantity), candidate.loss)))
    return tuple(kept)


def _changed(chosen: tuple[Candidate, ...]) -> str:
    changed = [candidate for candidate in chosen if candidate.entry.kind.changes_weight]
    return f"{len(changed)} of {len(chosen)}"
