"""A plan by the allocation of ALDS in words and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rankfold.planning.alds import Allocation
from rankfold.records.text_table import format_table


def allocation_table(found: Allocation) -> str:
    """What every layer becomes, and the sums."""
    rows = []
    for dense, chosen in zip(found.dense, found.chosen, strict=True):
        entry = chosen.entry
        cycles = f"{dense.cycles:,} -> {chosen.cycles:,}"
        rows.append([entry.name, entry.kind.short(), entry.mapping, cycles, f"{chosen.error:.4f}"])
    table = format_table(["layer", "becomes", "mapping", "cycles", "relative error"], rows)
    share = found.cycles / found.dense_cycles
    return (
        f"{table}\ng: low-rank groups, r: rank of each\n"
        f"{found.dense_cycles:,} cycles dense -> {found.cycles:,} cycles ({share:.1%}, budget "
        f"{found.budget:,.0f})\n"
        f"largest relative error {found.error:.4f}, the least of all groups and ranks within the budget"
    )


def allocation_to_json(found: Allocation, out: Path) -> dict[str, Any]:
    """The stable interface of `--json`."""
    errors = {setting.entry.name: setting.error for setting in found.chosen}
    return {
        "plan": found.plan.to_json(),
        "cycles": found.cycles,
        "dense_cycles": found.dense_cycles,
        "largest_error": found.error,
        "errors": errors,
        "files": [str(out)],
    }
