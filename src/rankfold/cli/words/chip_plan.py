"""A plan for a described chip, in words and as JSON."""

from __future__ import annotations

from typing import Any

from rankfold.chip.best import ENERGY_DELAY, FIGURES
from rankfold.chip.run import ChipRun
from rankfold.cli.words.planning import LEGEND
from rankfold.planning.exact import CYCLES, LOSS, WEIGHTS, in_units
from rankfold.planning.exact.candidate import bits_in_letters
from rankfold.planning.exact.quantities import spoken
from rankfold.planning.explain import why_it_stays
from rankfold.planning.on_chip.plan import ChipPlanning
from rankfold.records.text_table import format_table

PJ_IN_UJ = 1e6


def chip_planning_table(found: ChipPlanning) -> str:
    """What every layer becomes, how it lies on arrays, and how many of these it has."""
    planning = found.planning
    headers = ["layer", "becomes", "bits", "mapping", "tiles", "copies", "predicted loss", "why it stays"]
    rows = []
    assert planning.plan.on_chip is not None  # its weights stay
    copies = planning.plan.on_chip.copies
    for layer, chosen in zip(planning.choices, planning.solution.chosen, strict=True):
        stages = copies.get(layer.shape.name, ())
        rows.append(
            [
                layer.name,
                chosen.entry.kind.short(),
                bits_in_letters(chosen),
                chosen.entry.mapping,
                str(chosen.arrays),
                " + ".join(", ".join(map(str, stage)) for stage in stages) or "-",
                f"{chosen.loss:.4f}",
                why_it_stays(layer, chosen) or "-",
            ]
        )
    return format_table(headers, rows) + LEGEND + "; copies: of each matrix, + between the stages of a pair"


def chip_planning_in_words(found: ChipPlanning) -> str:
    """How the plan runs on the chip, beside the dense network and the budgets, and how good it is."""
    planning, run = found.planning, found.run
    lines = [f"on {run.chip.name}, {run.arrays_used:,} of {run.chip.arrays:,} arrays:"]
    for name, figure in FIGURES.items():
        words = [f"{figure(run) / figure(found.dense):.1%}"]
        if name in found.limits:
            words.append(f"budget {in_units(name, found.limits[name])}")
        lines.append(
            f"  {name} {in_units(name, figure(found.dense))} dense -> {in_units(name, figure(run))} "
            f"({', '.join(words)})"
        )
    for name in (CYCLES, WEIGHTS):
        if name in planning.budgets:
            budget = in_units(name, planning.budgets[name])
            lines.append(f"  {in_units(name, planning.solution.total(name))} (budget {budget})")
    lines.append(f"  what limits: {run.limit}")
    lost = f"predicted loss +{planning.solution.total(LOSS):.4f} {planning.unit} before fine-tuning"
    lines.append(f"{lost}; {_proof(found)}")
    lines += [f"warning: {words}" for words in run.chip.warnings]
    return "\n".join(lines)


def _proof(found: ChipPlanning) -> str:
    solution = found.planning.solution
    what = "" if solution.goal == LOSS else f" in {spoken(solution.goal)}"
    if solution.gap == 0:
        return f"proven optimal{what}, of plans whose weights stay"
    bound = f"{solution.bound / PJ_IN_UJ:.4g} uJ us"
    if solution.goal != ENERGY_DELAY:
        bound = in_units(solution.goal, solution.bound)
    return f"no plan whose weights stay has less than {bound} (gap {solution.gap:.1%}{what})"


def chip_planning_to_json(found: ChipPlanning) -> dict[str, Any]:
    """The stable interface of `--json`."""
    planning = found.planning
    return {
        "plan": planning.plan.to_json(),
        "chip": {
            "name": found.run.chip.name,
            "planned": _figures(found.run),
            "dense": _figures(found.dense),
            "budgets": dict(found.limits),
            "arrays_used": found.run.arrays_used,
            "limit": found.run.limit,
            "warnings": list(found.run.chip.warnings),
        },
        "budgets": dict(planning.budgets),
        "predicted_loss": planning.solution.total(LOSS),
        "loss_unit": planning.unit,
        "goal": planning.solution.goal,
        "value": planning.solution.value,
        "bound": planning.solution.bound,
        "gap": planning.solution.gap,
    }


def _figures(run: ChipRun) -> dict[str, float]:
    return {
        "interval_us": run.interval,
        "latency_us": run.latency,
        "energy_pj": run.total_energy,
    }
