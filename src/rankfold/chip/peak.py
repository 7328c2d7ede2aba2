"""What a described chip does at most, with all arrays full and read without a pause, as papers say it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rankfold.cost.energy.chosen_table import hardware_table
from rankfold.cost.energy.macro import Macro, macro_energy
from rankfold.machine import ChipSpec

UM2 = 1e-6  # in mm2


@dataclass(frozen=True)
class Peak:
    """Of the arrays alone, with their converters and shift-adders.

    Attributes:
        tops: 10^12 operations a second, two for each multiply-accumulate of whole weights and inputs.
        power: W.
        area: mm2.
    """

    tops: float
    power: float
    area: float

    @property
    def tops_per_watt(self) -> float:
        """Efficiency."""
        return self.tops / self.power


def peak(chip: ChipSpec, bits: int, input_bits: int | None = None) -> Peak:
    """The peak of a chip whose weights and inputs, of which none is negative, have so many bits.

    Args:
        chip: the chip.
        bits: of weights, and of inputs where nothing else is said.
        input_bits: of inputs.

    Raises:
        InputError: a formula of the component table cannot be computed for these arrays.
    """
    table, array = hardware_table(chip.hardware), chip.hardware.array
    array = replace(array, cell_bits=array.cell_bits or table.cell_bits)
    wide = array.columns_per_weight(bits)
    columns = array.columns // wide * wide
    # Where columns are subtracted, one of two is converted.
    converted = columns // 2 if array.subtracts else None
    macro = Macro(
        rows=array.rows,
        columns=columns,
        columns_per_weight=wide,
        weight_bits=bits,
        input_bits=input_bits or bits,
        dac_bits=array.dac_bits or 1,
        converted=converted,
    )
    stage = macro_energy(table, macro)
    time = 1e3 * stage.latency  # ns of a whole input
    if chip.read_time is not None:
        time = macro.slices * chip.read_time
    # Operations per ns are 10^9 a second, pJ per ns are mW.
    return Peak(
        1e-3 * chip.arrays * macro.operations / time,
        1e-3 * chip.arrays * stage.total / time,
        UM2 * chip.arrays * sum(stage.area.values()),
    )
