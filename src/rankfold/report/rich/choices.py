"""Plans that were chosen from data, as notebooks show them: what each layer was, and what it becomes."""

from __future__ import annotations

from rankfold.planning import Planning
from rankfold.planning.exact import ARRAYS, CYCLES, total
from rankfold.report.numbers import count
from rankfold.report.rich.sheet import Sheet, sheet_of


@sheet_of.register
def _of_planning(planning: Planning) -> Sheet:
    rows = []
    for choices, chosen, entry in zip(
        planning.choices, planning.solution.chosen, planning.plan.layers, strict=True
    ):
        dense = choices.dense
        cells = [entry.name, entry.kind.short(), chosen.entry.mapping]
        cells += [f"{count(dense.cycles)} → {count(chosen.cycles)}", f"{dense.arrays} → {chosen.arrays}"]
        rows.append((*cells, f"{chosen.loss:.4f}", count(len(choices.candidates))))
    facts = []
    for quantity in (CYCLES, ARRAYS):
        before = total(planning.dense, quantity)
        after = planning.solution.total(quantity)
        facts.append((quantity, f"{before:,.0f} → {after:,.0f} ({after / before:.1%})"))
    return Sheet(
        title=repr(planning).strip("<>"),
        facts=tuple(facts),
        headers=("layer", "becomes", "mapping", "cycles", "arrays", "predicted loss", "candidates"),
        rows=tuple(rows),
        words=("becomes", "mapping"),
    )
