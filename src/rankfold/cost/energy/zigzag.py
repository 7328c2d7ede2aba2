"""A component table whose macro figures come from `zigzag-dse`, KU Leuven's model of analog in-memory
computing.
"""

from __future__ import annotations

from typing import Any

from rankfold.cost.energy.formula import Formula
from rankfold.cost.energy.table import DEFAULT_TABLE, ZIGZAG, Adc, Component, ComponentTable, load_table
from rankfold.errors import InputError, MissingDependencyError
from rankfold.mapping import ArraySpec

ADC_BITS, BITS = 5, 4  # where nothing else is asked
SOURCE = "zigzag-dse {version}: {what}"


def find_table(
    name: str | None, array: ArraySpec, adc: str | None = None, adc_bits: int | None = None
) -> ComponentTable:
    """The component table that a user means.

    Args:
        name: one of `TABLES`, a YAML file, `zigzag`, or None for the default.
        array: the physical array; only `zigzag` looks at it.
        adc: an ADC of the table; None: the table's choice.
        adc_bits: its resolution; None: the table's choice.

    Raises:
        InputError: there is no such table or ADC, the file is wrong, or the resolution is out of range.
        MissingDependencyError: `zigzag` without its package.
    """
    if name != ZIGZAG:
        return load_table(name or DEFAULT_TABLE).with_adc(adc, adc_bits)
    if adc not in (None, ZIGZAG):
        raise InputError(f"adc (={adc}): technology zigzag has its own; omit --adc")
    if adc_bits is None:
        adc_bits = ADC_BITS
    return zigzag_table(array, adc_bits)


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
    vdd = float(technology["vdd"])
    adc_area, adc_time, adc_energy = macro.get_adc_cost()
    adder, register = 1e3 * macro.get_1b_adder_energy(), 1e3 * macro.get_1b_reg_energy()

    def source(what: str) -> str:
        return SOURCE.format(version=version, what=what)

    def part(
        name: str, per: str, text: str, what: str, area: float | None = None, **constants: float
    ) -> Component:
        space = None
        if area is not None:
            space = Formula(repr(area), where=f"{name}/area")
        return Component(name, per, Formula(text, tuple(constants.items()), name), space, source=source(what))

    areas = {name: 1e6 * float(value) for name, value in macro.area_breakdown.items()}
    place_values = (
        "E_adder * max(adc_bits * (weight_columns - 1) + weight_columns * (log2(weight_columns) - 0.5), 0)"
    )
    accumulate = "E_bit * (input_bits + adc_bits + weight_bits) * min(slices - 1, 1)"
    components = (
        part(
            "word_lines",
            "row step",
            "E_cell * columns",
            "1b multipliers",
            areas["mults"] + areas["cells"],
            E_cell=1e3 * macro.get_1b_multiplier_energy(),
        ),
        part("dac", "row", "E_dac", "DACs", areas["dacs"], E_dac=1e3 * macro.get_dac_cost()[2]),
        part(
            "bit_lines",
            "conversion",
            "C_cell * rows * vdd**2",
            "analog bit-line addition",
            C_cell=1e3 * float(technology["bl_cap"]),
        ),
        part(
            "weight_shift_add",
            "weight column",
            place_values,
            "adders with place values",
            areas["adders_pv"],
            E_adder=adder,
        ),
        part(
            "input_shift_add",
            "weight column",
            accumulate,
            "accumulators",
            areas["accumulators"],
            E_bit=adder + register,
        ),
        part("accumulators", "addition", "E_bit * sum_bits", "1b adder and register", E_bit=adder + register),
        part("input_buffer", "input bit", "E_bit", "1b register", E_bit=register),
        part("output_buffer", "output bit", "E_bit", "1b register", E_bit=register),
    )
    adc = Adc(
        ZIGZAG,
        Formula(repr(1e3 * float(adc_energy)), where="adc/energy"),
        Formula(repr(float(adc_time)), where="adc/time"),
        Formula(repr(1e6 * float(adc_area)), where="adc/area"),
        source("ADCs"),
    )
    digital = Formula(f"{float(macro.tclk - adc_time)!r} + adc_time", where="step_time")
    node = 1e3 * float(technology["tech_node"])
    return ComponentTable(
        name=ZIGZAG,
        node=node,
        cell="sram",
        vdd=vdd,
        cell_bits=1,
        most_cell_bits=1,
        mux=1,
        active_rows=1.0,
        active_cells=1.0,
        adc=ZIGZAG,
        adc_bits=adc_bits,
        step_time=digital,
        components=components,
        adcs=(adc,),
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
        raise InputError(f"adc bits (={adc_bits}) must be a whole number from 1 to 16")
    if array.columns < BITS:
        raise InputError(f"array columns (={array.columns}) must be {BITS} or more for technology zigzag")
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
