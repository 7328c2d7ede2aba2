"""The macro of `zigzag-dse`: analog, of one-bit cells and slices of inputs."""

from __future__ import annotations

from typing import Any

import pytest


def zigzag_macro(side: int, adc_bits: int, cells: int, input_bits: int) -> tuple[Any, Any, Any]:
    """(macro, its columns of weights, its rows); a test is skipped where the package is not installed.

    Args:
        side: rows, and columns of cells.
        adc_bits: of its ADCs.
        cells: columns that a weight takes.
        input_bits: of inputs.
    """
    pytest.importorskip("zigzag", reason="the extra rankfold[zigzag] is not installed")
    from zigzag.datatypes import OADimension
    from zigzag.hardware.architecture.imc_array import ImcArray

    columns, rows = OADimension("D1"), OADimension("D2")
    macro = ImcArray(
        is_analog_imc=True,
        bit_serial_precision=1,
        input_precision=[input_bits, cells],
        adc_resolution=adc_bits,
        cells_size=cells,
        cells_area=0.0,
        dimension_sizes={columns: side // cells, rows: side},
    )
    return macro, columns, rows
