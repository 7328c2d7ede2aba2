"""The component table that hardware is priced with, and what it says where the hardware leaves it open."""

from __future__ import annotations

from dataclasses import replace

from rankfold.cost.energy.table import DAC_BITS, DEFAULT_TABLE, ZIGZAG, ComponentTable, load_table
from rankfold.cost.energy.zigzag import ADC_BITS, zigzag_table
from rankfold.errors import InputError
from rankfold.machine import Hardware
from rankfold.mapping import ArraySpec


def find_table(
    name: str | None,
    array: ArraySpec,
    adc: str | None = None,
    adc_bits: int | None = None,
    mux: int | None = None,
) -> ComponentTable:
    """The component table that a user means.

    Args:
        name: one of `TABLES`, a YAML file, `zigzag`, or None for the default.
        array: the physical array.
        adc: an ADC of the table; None: the table's choice.
        adc_bits: its resolution; None: the table's choice.
        mux: columns that share an ADC; None: the table's choice, or all of an array that has fewer.

    Raises:
        InputError: there is no such table or ADC, the file is wrong, or a number is out of range.
        MissingDependencyError: `zigzag` without its package.
    """
    if name != ZIGZAG:
        return load_table(name or DEFAULT_TABLE).for_array(array, adc, adc_bits, mux)
    if adc not in (None, ZIGZAG):
        raise InputError(f"adc (={adc}): technology zigzag has its own; omit adc")
    if mux not in (None, 1):
        raise InputError(f"mux (={mux}): technology zigzag has an ADC for every column; omit mux")
    if adc_bits is None:
        adc_bits = ADC_BITS
    return zigzag_table(array, adc_bits)


def hardware_table(hardware: Hardware) -> ComponentTable:
    """The component table of hardware, with its ADCs.

    Raises:
        InputError: there is no such table or ADC, the file is wrong, or a number is out of range.
        MissingDependencyError: `zigzag` without its package.
    """
    return find_table(hardware.technology, hardware.array, hardware.adc, hardware.adc_bits, hardware.mux)


def array_with_cells(hardware: Hardware) -> ArraySpec:
    """The array of hardware, with the cells of its technology where it names none.

    Raises:
        InputError: there is no such table, or the file is wrong; it is looked at in that case alone.
        MissingDependencyError: likewise, `zigzag` without its package.
    """
    if hardware.array.cell_bits is not None:
        return hardware.array
    return find_table(hardware.technology, hardware.array).with_cells(hardware.array)


def completed(hardware: Hardware) -> Hardware:
    """The hardware with every figure that it leaves open as energy takes it: from its component table.

    Raises:
        InputError: as `hardware_table`; or its cells store more bits than those of the table.
        MissingDependencyError: as `hardware_table`.
    """
    table = hardware_table(hardware)
    array = table.with_cells(hardware.array)
    if array.dac_bits is None:
        array = replace(array, dac_bits=DAC_BITS)
    table.check_cells(array)
    return replace(hardware, array=array, adc=table.adc, adc_bits=table.adc_bits, mux=table.mux)
