"""A component table whose macro figures come from `zigzag-dse`, KU Leuven's model of analog in-memory
computing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rankfold.cost.energy.formula import Formula
from rankfold.cost.energy.table import ZIGZAG, Adc, Component, ComponentTable
from rankfold.errors import InputError, MissingDependencyError
from rankfold.mapping import ArraySpec

ADC_BITS, BITS = 5, 4  # where nothing else is asked
SOURCE = "zigzag-dse {version}: {what}"
OWN = "own estimate: two sampling capacitors of 10 fF that share their charge, of 2 fF/um2, as in the tables"
C_SAMPLE = 10.0  # fF
PICO = 1e3  # fJ in a pJ, and fF in a pF
SQUARE_MILLI = 1e6  # um2 in a mm2
# Adders of a tree whose inputs are one, two, four, ... columns' values: each next one is a bit wider.
PLACE_VALUES = (
    "E_adder * max(adc_bits * (weight_columns - 1) + weight_columns * (log2(weight_columns) - 0.5), 0)"
)
# Only where inputs come in slices are their sums added up.
ACCUMULATE = "E_bit * (input_bits + adc_bits + weight_bits) * min(slices - 1, 1)"


def zigzag_table(array: ArraySpec, adc_bits: int = ADC_BITS) -> ComponentTable:
    """The figures of `zigzag-dse`'s ImcArray for one macro, as a component table.

    28 nm SRAM, validated by its authors against measured chips (see their documentation); every column has an
    ADC of its own and all rows and cells count as active. ZigZag counts memories apart, so buffers and
    partial sums are registers and adders of its technology here, and there is no bus.

    Args:
        array: the physical array; `dac_bits` are taken from it, 1 where it has none.
        adc_bits: resolution of the ADCs.

    Raises:
        MissingDependencyError: `zigzag-dse` is not installed.
    """
    macro, version = _macro(array, adc_bits)
    technology = macro.tech_param
    adc_time = float(macro.get_adc_cost()[1])
    # Its clock period contains the conversion: the rest is a constant, the ADC's time comes from `adcs`.
    digital = float(macro.tclk) - adc_time
    return ComponentTable(
        name=ZIGZAG,
        # ZigZag has um, tables have nm.
        node=1e3 * float(technology["tech_node"]),
        cell="sram",
        vdd=float(technology["vdd"]),
        cell_bits=1,
        coding="differential",
        converts="differences",
        most_cell_bits=1,
        mux=1,
        active_rows=1.0,
        active_cells=1.0,
        adc=ZIGZAG,
        adc_bits=adc_bits,
        step_time=Formula(f"{digital!r} + adc_time", where="step_time"),
        components=_components(macro, version),
        adcs=(_adc(macro, version),),
    )


def _adc(macro: Any, version: str) -> Adc:
    area, time, energy = macro.get_adc_cost()
    return Adc(
        ZIGZAG,
        Formula(repr(PICO * float(energy)), where="adc/energy"),
        Formula(repr(float(time)), where="adc/time"),
        Formula(repr(SQUARE_MILLI * float(area)), where="adc/area"),
        SOURCE.format(version=version, what="ADCs"),
    )


def _components(macro: Any, version: str) -> tuple[Component, ...]:
    """What ZigZag adds up for a cycle (`get_energy_cost`), by the events of a component table."""
    adder = PICO * macro.get_1b_adder_energy()
    register = PICO * macro.get_1b_reg_energy()
    cell = PICO * macro.get_1b_multiplier_energy()
    line = PICO * float(macro.tech_param["bl_cap"])
    driver = PICO * macro.get_dac_cost()[2]
    bit = adder + register
    areas = {name: SQUARE_MILLI * float(value) for name, value in macro.area_breakdown.items()}

    def part(name: str, per: str, text: str, what: str, **constants: float) -> Component:
        return Component(
            name,
            per,
            Formula(text, tuple(constants.items()), name),
            source=SOURCE.format(version=version, what=what),
        )

    def taking(area: float, component: Component) -> Component:
        return replace(component, area=Formula(repr(area), where=f"{component.name}/area"))

    lines = part("word_lines", "row step", "E_cell * columns", "1b multipliers", E_cell=cell)
    drivers = part("dac", "row", "E_dac", "DACs", E_dac=driver)
    place_values = part(
        "weight_shift_add", "weight column", PLACE_VALUES, "adders with place values", E_adder=adder
    )
    accumulate = part("input_shift_add", "weight column", ACCUMULATE, "accumulators", E_bit=bit)
    return (
        taking(areas["mults"] + areas["cells"], lines),
        taking(areas["dacs"], drivers),
        part("bit_lines", "conversion", "C_cell * rows * vdd**2", "analog bit-line addition", C_cell=line),
        taking(areas["adders_pv"], place_values),
        taking(areas["accumulators"], accumulate),
        part("accumulators", "addition", "E_bit * sum_bits", "1b adder and register", E_bit=bit),
        # ZigZag counts buffers as memories, apart: here they are registers of its technology.
        # ZigZag converts columns as they are; what a subtraction before that costs is no figure of its.
        replace(
            part("subtractor", "difference", "2 * C_sample * vdd**2", "", C_sample=C_SAMPLE),
            area=Formula(f"subtractors * 2 * {C_SAMPLE} / 2", where="subtractor/area"),
            source=OWN,
        ),
        part("input_counter", "counted input", "E_bit * dac_bits", "1b adder and register", E_bit=bit),
        part("input_buffer", "input bit", "E_bit", "1b register", E_bit=register),
        part("output_buffer", "output bit", "E_bit", "1b register", E_bit=register),
    )


def _macro(array: ArraySpec, adc_bits: int) -> tuple[Any, str]:
    """ZigZag's macro for an array of one-bit cells, with 4-bit weights and inputs, and its version."""
    try:
        from importlib.metadata import version

        from zigzag.datatypes import OADimension
        from zigzag.hardware.architecture.imc_array import ImcArray
    except ImportError as error:
        raise MissingDependencyError(
            f"technology zigzag needs the package zigzag-dse ({error}); install it with: pip install "
            "'rankfold[zigzag]'"
        ) from None
    if not 1 <= adc_bits <= 16:
        raise InputError(f"adc_bits (={adc_bits}) must be a whole number from 1 to 16")
    if array.columns < BITS:
        raise InputError(f"array columns (={array.columns}) must be {BITS} or more for technology zigzag")
    # D1 counts weights along a row of BITS cells each, D2 counts rows.
    sizes = {OADimension("D1"): array.columns // BITS, OADimension("D2"): array.rows}
    macro = ImcArray(
        is_analog_imc=True,
        bit_serial_precision=array.dac_bits or 1,
        input_precision=[BITS, BITS],
        adc_resolution=adc_bits,
        cells_size=BITS,
        cells_area=0.0,
        dimension_sizes=sizes,
    )
    return macro, version("zigzag-dse")
