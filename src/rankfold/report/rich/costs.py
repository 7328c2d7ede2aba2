"""Cycles and energy of networks as notebooks show them."""

from __future__ import annotations

from rankfold.cost import NetworkCycles
from rankfold.cost.energy import NetworkEnergy
from rankfold.cost.layer_cycles import window_and_tiles
from rankfold.report.numbers import count, nanojoules, percent, size
from rankfold.report.rich.sheet import Sheet, sheet_of


@sheet_of.register
def _of_cycles(costs: NetworkCycles) -> Sheet:
    """Cycles as planned, beside those of the mappings that are compared."""
    compared = tuple(costs.total)
    rows = []
    for layer in costs.layers:
        window, tiles = window_and_tiles(layer.main_stage)
        row = [layer.shape.name, layer.entry.kind.short(), size(window), size(tiles)]
        row += [count(layer.chosen_cycles), percent(layer.utilisation, 1)]
        row += [count(layer.cycles[key]) for key in compared]
        rows.append(tuple(row))
    total = ["total", "", "", "", count(costs.chosen_cycles), percent(costs.utilisation, 1)]
    total += [count(amount) for amount in costs.total.values()]
    return Sheet(
        title=f"Cycles of {costs.model} on {costs.array} arrays, per image",
        facts=(
            ("cycles", count(costs.chosen_cycles)),
            ("cells in use", percent(costs.utilisation, 1)),
            ("no mapping needs fewer than", count(costs.lower_bound)),
        ),
        headers=("layer", "becomes", "window", "tiles", "cycles", "in use", *map(str, compared)),
        rows=(*rows, tuple(total)),
        words=("becomes",),
    )


@sheet_of.register
def _of_energy(costs: NetworkEnergy) -> Sheet:
    components = sorted(costs.components, key=costs.components.__getitem__, reverse=True)
    rows = []
    for layer in costs.layers:
        rows.append((layer.shape.name, *_energies(layer.energy, layer.components, components)))
    rows.append(("total", *_energies(costs.energy, costs.components, components)))
    return Sheet(
        title=f"Energy of {costs.model} on {costs.array} arrays, {costs.table.name}, nJ per image",
        facts=(
            ("energy", f"{nanojoules(costs.energy):,.1f} nJ"),
            ("latency", f"{costs.latency:,.1f} us"),
            ("area", f"{costs.area:,.2f} mm²"),
            ("arrays", count(costs.arrays)),
            ("ADC conversions", count(costs.conversions)),
        ),
        headers=("layer", "energy", *components),
        rows=tuple(rows),
    )


def _energies(total: float, parts: dict[str, float], components: list[str]) -> list[str]:
    """nJ of the whole, and of each component."""
    amounts = [total, *(parts.get(component, 0.0) for component in components)]
    return [f"{nanojoules(amount):,.2f}" for amount in amounts]
