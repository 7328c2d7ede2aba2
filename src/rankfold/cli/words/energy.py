"""Energy, time and area of a network in words."""

from __future__ import annotations

from rankfold.cost.energy import (
    NOT_SIMULATED,
    SHARES,
    Comparison,
    NetworkEnergy,
    OnArrays,
    accuracy_in_words,
    simulation_options,
)
from rankfold.records.csv_table import csv_text
from rankfold.records.text_table import format_table

LEAST_SHARE = 0.03  # of the energy; smaller components are summed up
ON_ARRAYS = ("accuracy_on_arrays", "measured")  # columns of tables: the share, and what it is of
COUNTS = ("tiles", "reads", "rows", "conversions", "cells", "additions")


def energy_summary(energy: NetworkEnergy, arrays: OnArrays | None = None) -> str:
    """Totals and the conditions they hold for.

    Args:
        energy: the network.
        arrays: the same network under all mappings, to be compared with; None: no comparison.
    """
    lines = [
        f"energy {1e-3 * energy.energy:,.1f} nJ per image ({shares(energy)})",
        f"  {energy.conversions:,} ADC conversions in {energy.reads:,} array reads, "
        f"{energy.tops_per_watt:.1f} TOPS/W",
        f"  {energy.arrays:,} arrays, {energy.utilisation:.1%} of their cells at work, {energy.area:.3f} "
        f"mm2, {energy.leakage:.2f} uW leakage",
        f"  {energy.latency:,.1f} us from in to out, an image every {energy.interval:,.1f} us with layers "
        "pipelined",
    ]
    lines.append(f"  accuracy on these arrays: {accuracy_with_command(energy)}")
    if arrays is not None:
        lines += [f"  {line}" for line in _comparisons(energy, arrays)]
    lines.append(f"  with {energy.describe()}")
    lines.append(f"  ADC: {energy.table.chosen_adc.source}")
    return "\n".join(lines)


def accuracy_with_command(energy: NetworkEnergy) -> str:
    """The accuracy on the arrays, or the command that would find it."""
    words = accuracy_in_words(energy.accuracy)
    if energy.accuracy is None:
        options = simulation_options(energy.array, energy.table.adc_bits)
        words += f"; rankfold simulate RUN --data DATA {options} --out RUN/simulation.json does"
    return words


def _comparisons(energy: NetworkEnergy, arrays: OnArrays) -> list[str]:
    """The energy against that of the dense network under its best mapping, and under im2col."""
    lines = []
    best = arrays.by_mapping[arrays.dense_best]
    # A dense network may be what it would be compared with.
    if best.components == arrays.dense.components:
        if energy.components != best.components:
            against = comparison_in_words(Comparison.of(energy, best))
            lines.append(f"{against}; no other mapping of the dense network needs less")
        return lines
    if energy.components != best.components:
        saving = 1 - energy.energy / best.energy
        lines.append(
            f"{abs(saving):.1%} {_less(saving)} energy than the dense network under its best mapping "
            f"({arrays.dense_best}, {1e-3 * best.energy:,.1f} nJ)"
        )
    if energy.components != arrays.dense.components:
        lines.append(comparison_in_words(Comparison.of(energy, arrays.dense)))
    return lines


def comparison_in_words(compared: Comparison) -> str:
    """The saving against dense im2col, its band, and where it turns."""
    low, high = compared.band
    from_ = f"{abs(low):.0%}"
    # The word after the range is that of its upper end, so the lower end says when it differs.
    if low < 0 <= high:
        from_ += " more"
    words = (
        f"{abs(compared.saving):.1%} {_less(compared.saving)} energy than dense im2col; {from_} to "
        f"{abs(high):.0%} {_less(high)} where ADCs take {SHARES[0]:.0%} to {SHARES[1]:.0%} of the latter "
        f"(here {compared.share:.0%})"
    )
    if compared.flip is None:
        return words
    return f"{words}; equal at {compared.flip:.0%}"


def _less(saving: float) -> str:
    if saving >= 0:
        return "less"
    return "more"


def shares(energy: NetworkEnergy) -> str:
    """The components by their share of the dynamic energy, largest first."""
    # Shares are taken off one by one, so that small components show as what is left.
    rest = 1.0
    words = []
    for name, value in sorted(energy.components.items(), key=lambda part: part[1], reverse=True):
        share = value / energy.energy
        if share >= LEAST_SHARE:
            words.append(f"{name.replace('_', ' ')} {share:.0%}")
            rest -= share
    # Less would be printed as 0 %.
    if rest >= 0.005:
        words.append(f"others {rest:.0%}")
    return ", ".join(words)


def energy_table(energy: NetworkEnergy) -> str:
    """The energy of every layer."""
    headers = ["layer", "arrays", "ADC conversions", "energy, nJ", "by stage", "ADCs", "latency, us"]
    rows = []
    for layer in energy.layers:
        by_stage = ""
        if len(layer.stages) > 1:
            by_stage = " + ".join(f"{1e-3 * stage.total:,.2f}" for stage in layer.stages)
        by_converters = "-"
        if layer.stages:
            by_converters = f"{layer.components['adc'] / layer.energy:.0%}"
        rows.append(
            [
                layer.shape.name,
                " + ".join(f"{stage.activity.tiles:,}" for stage in layer.stages),
                f"{layer.conversions:,}",
                f"{1e-3 * layer.energy:,.2f}",
                by_stage,
                by_converters,
                f"{layer.latency:,.2f}",
            ]
        )
    return f"{energy.model} on {energy.array} arrays, per image\n\n{format_table(headers, rows)}"


def component_table_in_words(energy: NetworkEnergy) -> str:
    """The energy of every component, and where its figures come from."""
    sources = {component.name: component.source for component in energy.table.components}
    rows = []
    for name, value in energy.components.items():
        # The ADC is no component of the table.
        source = sources.get(name, energy.table.chosen_adc.source)
        rows.append([name, f"{1e-3 * value:,.2f}", f"{value / energy.energy:.1%}", source])
    return format_table(["component", "energy, nJ", "share", "source"], rows, "<>><")


def energy_csv(energy: NetworkEnergy, hardware: str) -> str:
    """One line for each stored convolution and component; each says on which hardware."""
    rows = []
    kept = accuracy_cells(energy)
    for layer in energy.layers:
        for number, stage in enumerate(layer.stages, 1):
            counts = [getattr(stage.activity, count) for count in COUNTS]
            # Some components have energy alone and some area alone; each is listed once.
            for name in dict.fromkeys((*stage.energy, *stage.area)):
                spent, area = stage.energy.get(name, 0), stage.area.get(name, 0)
                amounts = [f"{spent:.6g}", f"{area:.6g}", f"{stage.latency:.6g}"]
                rows.append([layer.shape.name, number, name, *amounts, *counts, hardware, *kept])
    return csv_text(
        [
            "layer",
            "stage",
            "component",
            "energy_pj",
            "area_um2",
            "latency_us",
            *COUNTS,
            "hardware",
            *ON_ARRAYS,
        ],
        rows,
    )


def accuracy_cells(energy: NetworkEnergy) -> tuple[str, str]:
    """What the arrays keep, as cells of `ON_ARRAYS`: 0 to 1, and what was measured; or that nobody did."""
    if energy.accuracy is None:
        return NOT_SIMULATED, ""
    return f"{energy.accuracy.accuracy:.6g}", energy.accuracy.measured
