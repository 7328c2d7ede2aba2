"""Plans among other things: what they would cost, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass

from rankfold.cost import NetworkCycles, network_cycles
from rankfold.cost.energy import NOT_SIMULATED, NetworkEnergy, hardware_table, network_energy
from rankfold.plan import Plan
from rankfold.report.card import Card
from rankfold.report.charts.cycles import Bars, layer_chart
from rankfold.report.charts.drawing import Chart
from rankfold.report.charts.energy import stacked_chart
from rankfold.report.mixed.section import Row, Section
from rankfold.report.numbers import GAP, count, nanojoules, percent, size
from rankfold.report.palette import BLUE
from rankfold.workload import Network


@dataclass(frozen=True)
class PlanCosts:
    """What a plan costs.

    Attributes:
        cycles: of the network on the plan's arrays.
        energy: likewise.
    """

    cycles: NetworkCycles
    energy: NetworkEnergy


@dataclass(frozen=True)
class PlannedNetwork:
    """A plan file.

    Attributes:
        label: its name.
        plan: what it says.
        costs: what that takes; None where it cannot be counted.
        why_not: the reason then.
    """

    label: str
    plan: Plan
    costs: PlanCosts | None
    why_not: str = ""


def plan_costs(network: Network, plan: Plan) -> PlanCosts:
    """Cycles and energy of a plan.

    Raises:
        InputError: the plan is not for this network, or which weights it keeps is known with these only.
    """
    return PlanCosts(
        network_cycles(network, plan), network_energy(network, plan, hardware_table(plan.machine))
    )


def plan_section(planned: PlannedNetwork) -> Section:
    """What a plan makes of its network, and what it costs."""
    plan = planned.plan
    arrays = size((plan.array.rows, plan.array.columns))
    change = f"{len(plan.changed)} of {len(plan.layers)} layers change"
    about = f"{plan.model} as planned for {arrays} arrays: {change}."
    title = f"{planned.label}: a plan"
    if planned.costs is None:
        note = f"What it costs is not counted: {planned.why_not}."
        return Section(title, about, notes=[note], cards=_loss_cards(plan), plan=plan)
    costs = planned.costs
    charts = [
        ("Cycles of every layer", _cycles_chart(costs.cycles)),
        ("Energy of every layer", _energy_chart(costs.energy)),
    ]
    cards = [*_cost_cards(costs), *_loss_cards(plan)]
    conditions = [f"Assumed: {words}." for words in costs.energy.assumed]
    notes = [f"Energy, latency and area by the table {costs.energy.table.name}.", *conditions]
    return Section(title, about, cards=cards, notes=notes, charts=charts, plan=plan)


def plan_row(planned: PlannedNetwork) -> Row:
    """A plan in the table on top."""
    plan = planned.plan
    row = {}
    if planned.costs is not None:
        energy = planned.costs.energy
        row = {
            "cycles": count(planned.costs.cycles.chosen_cycles),
            "energy": f"{nanojoules(energy.energy):,.0f}",
            "latency": f"{energy.latency:,.1f}",
            "area": f"{energy.area:.2f}",
            "on_arrays": NOT_SIMULATED,
        }
    arrays = size((plan.array.rows, plan.array.columns))
    return Row(name=planned.label, sort="plan", network=plan.model, arrays=arrays, **row)


def _cost_cards(costs: PlanCosts) -> list[Card]:
    cycles, energy = costs.cycles, costs.energy
    best = f"{count(cycles.lower_bound)} at least, under any mapping"
    return [
        Card(count(cycles.chosen_cycles), "cycles per image, as planned", best),
        Card(percent(cycles.utilisation, 1), "utilisation", "of the cells, mean over all cycles"),
        Card(f"{nanojoules(energy.energy):,.0f}{GAP}nJ", "energy per image"),
        # No energy without what these arrays leave of the network.
        Card(NOT_SIMULATED, "accuracy on these arrays", "once it is trained; rankfold simulate does"),
        Card(f"{energy.latency:,.1f}{GAP}µs", "latency of an image"),
        Card(count(energy.arrays), "arrays", f"{energy.area:.2f}{GAP}mm²"),
    ]


def _loss_cards(plan: Plan) -> list[Card]:
    if plan.prediction is None or plan.predicted_loss is None:
        return []
    what = f"predicted loss, {plan.prediction.unit}"
    return [Card(f"{plan.predicted_loss:.4g}", what, "before any training")]


def _cycles_chart(cycles: NetworkCycles) -> Chart:
    names, im2col, sdk, planned = [], [], [], []
    for layer in cycles.layers:
        dense = {str(key): amount for key, amount in layer.cycles.items()}
        names.append(layer.shape.name)
        im2col.append(dense["im2col"])
        sdk.append(dense["sdk"])
        planned.append(layer.chosen_cycles)
    return layer_chart(names, im2col, sdk, [Bars("as planned", BLUE[0], planned)])


def _energy_chart(energy: NetworkEnergy) -> Chart:
    rows = [(layer.shape.name, layer.components) for layer in energy.layers]
    return stacked_chart("energy", "Energy of every layer, by component", rows)
