"""The energy, time and area of one stored convolution: counts of its activity times the formulae of a
component table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from rankfold.cost.energy.activity import StageActivity
from rankfold.cost.energy.table import ADC, ComponentTable
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec

PJ, US = 1e-3, 1e-3  # of fJ, of ns


@dataclass(frozen=True)
class StageEnergy:
    """What one stored convolution costs for one image.

    Attributes:
        activity: what its arrays do.
        energy: pJ by component, in the order of the table.
        area: um2 of its arrays by component, those that have one.
        leakage: uW of its arrays.
        latency: us from its first read to its last, each tile on an array of its own.
    """

    activity: StageActivity
    energy: dict[str, float]
    area: dict[str, float]
    leakage: float
    latency: float

    @property
    def total(self) -> float:
        """pJ of all components."""
        return sum(self.energy.values())


def variables(table: ComponentTable, array: ArraySpec, activity: StageActivity) -> dict[str, float]:
    """The values that formulae may use, for one stage."""
    # An array that says nothing of cells and DACs holds whole weights and takes whole inputs.
    cell_bits = array.cell_bits or activity.weight_bits
    dac_bits = array.dac_bits or activity.input_bits
    wide, slices = activity.columns_per_weight, activity.slices
    subtractors = 0
    if array.subtracts:
        subtractors = adcs(table, array)
    carry = math.ceil(math.log2(activity.turns))
    # Sums of negative inputs are taken off those of positive ones: a second pass shifts nothing further.
    shifts = slices // array.passes(activity.input_signed) - 1
    return {
        "rows": array.rows,
        "columns": array.columns,
        "mux": table.mux,
        "subtractors": subtractors,
        "vdd": table.vdd,
        "node": table.node,
        "adc_bits": table.adc_bits,
        "dac_bits": dac_bits,
        "cell_bits": cell_bits,
        "weight_bits": activity.weight_bits,
        "input_bits": activity.input_bits,
        "weight_columns": wide,
        # A shift for each further column of a weight, and for each further slice of the inputs; and the carry
        # of sums over turns.
        "sum_bits": table.adc_bits + (wide - 1) * cell_bits + shifts * dac_bits + carry,
        "slices": slices,
        "kernel": activity.kernel,
        # Mean per activation, as the circuits of all rows are there, whichever of them are driven; at least
        # one, so that a stage that is never read does not divide by zero.
        "steered": activity.steered / max(activity.activations * slices, 1),
    }


def events(
    table: ComponentTable, array: ArraySpec, activity: StageActivity, sum_bits: float
) -> dict[str, float]:
    """How often each event happens for an image.

    All columns that share an ADC are read one after another, `mux` steps a read, and the rows are driven anew
    in each, as in NeuroSim: only mapped columns are converted, but lines and drivers are paid for in every
    step.
    """
    differences = counted = 0
    if array.subtracts:
        differences = activity.conversions
        # Only a reference column leaves a share of the inputs to be added.
        if array.has_reference:
            counted = activity.rows
    reads = activity.reads
    inputs = activity.inputs * activity.input_bits
    return {
        "read": reads,
        "read step": reads * table.mux,
        "row": activity.rows,
        "row step": activity.rows * table.mux * table.active_rows,
        "conversion": activity.conversions,
        "difference": differences,
        "counted input": counted,
        "conducting cell": activity.cells * table.active_rows * table.active_cells,
        "weight column": activity.columns,
        "sum": activity.sums,
        "addition": activity.additions,
        "input bit": inputs,
        # Outputs are kept with as many bits as inputs.
        "output bit": activity.outputs * activity.input_bits,
        # Inputs come over the bus and sums leave over it.
        "bus bit": inputs + activity.sums * sum_bits,
        "steered input": activity.steered,
    }


def stage_energy(table: ComponentTable, array: ArraySpec, activity: StageActivity) -> StageEnergy:
    """Energy, area, leakage and latency of a stage.

    Args:
        table: the components.
        array: the physical array.
        activity: what the arrays do.

    Raises:
        InputError: a formula of the table cannot be computed for this array.
    """
    values = variables(table, array, activity)
    happens = events(table, array, activity, values["sum_bits"])
    unit = _unit_costs(table, tuple(values.items()))
    # The ADC stands apart from the other components, as users exchange it without editing the table.
    energy = {ADC: PJ * happens["conversion"] * unit.adc_energy}
    energy.update((name, PJ * happens[per] * each) for name, per, each in unit.energy)
    area = {ADC: activity.tiles * adcs(table, array) * unit.adc_area}
    area.update((name, activity.tiles * each) for name, each in unit.area)
    # Leakage is by tile: an array leaks whether it works or not.
    leakage = 0.0
    for each in unit.leakage:
        leakage += activity.tiles * each
    # Tiles work side by side, so that the busiest one sets the time, slice after slice.
    latency = US * activity.longest * read_time(table, values) * activity.slices
    return StageEnergy(activity, energy, area, leakage, latency)


@dataclass(frozen=True)
class _UnitCosts:
    """What the formulae of a table come to, before anything is counted.

    Attributes:
        adc_energy: of a conversion.
        adc_area: of an ADC.
        energy: (component, event, of one such event).
        area: (component, of an array), of those that have one.
        leakage: of an array, of those components that leak.
    """

    adc_energy: float
    adc_area: float
    energy: tuple[tuple[str, str, float], ...]
    area: tuple[tuple[str, float], ...]
    leakage: tuple[float, ...]


# Stages differ in what they count, and rarely in what formulae depend on.
@lru_cache(maxsize=4096)
def _unit_costs(table: ComponentTable, variables: tuple[tuple[str, float], ...]) -> _UnitCosts:
    values = dict(variables)
    adc = table.chosen_adc
    energy, area, leakage = [], [], []
    for component in table.components:
        if component.energy is not None and component.per is not None:
            energy.append((component.name, component.per, component.energy.value(values)))
        if component.area is not None:
            area.append((component.name, component.area.value(values)))
        if component.leakage is not None:
            leakage.append(component.leakage.value(values))
    return _UnitCosts(
        adc.energy.value(values), adc.area.value(values), tuple(energy), tuple(area), tuple(leakage)
    )


def adcs(table: ComponentTable, array: ArraySpec) -> int:
    """ADCs of one array; what shares one of them, one after another, is what is converted."""
    sums = array.columns
    if array.subtracts and not array.has_reference:
        sums = -(-sums // 2)  # pairs of columns
    return -(-sums // table.mux)


def read_time(table: ComponentTable, values: Mapping[str, float]) -> float:
    """ns of one read: a step for each column that shares an ADC.

    Raises:
        InputError: it takes no time.
    """
    adc_time = table.chosen_adc.time.value(values)
    found = table.mux * table.step_time.value({**values, "adc_time": adc_time})
    if not found > 0:
        raise InputError(f"component table {table.name}: step_time is 0 here; a read takes some time")
    return found
