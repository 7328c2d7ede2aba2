"""`Macro`: one array at full use, as papers on circuits measure it."""

from __future__ import annotations

from dataclasses import dataclass

from rankfold.cost.energy.activity import StageActivity
from rankfold.cost.energy.engine import StageEnergy, stage_energy
from rankfold.cost.energy.table import ComponentTable
from rankfold.errors import InputError
from rankfold.mapping import ArraySpec
from rankfold.mapping.array import COLUMNS

OUTSIDE = ("accumulators", "input_buffer", "output_buffer", "bus", "steering")  # what surrounds an array


@dataclass(frozen=True, kw_only=True)
class Macro:
    """One array of which all columns work, for one whole input vector.

    Attributes:
        rows: physical rows.
        columns: physical columns.
        columns_per_weight: columns of a weight.
        weight_bits: bits of a weight.
        input_bits: bits of an input.
        dac_bits: bits of an input that are driven at once.
        rows_per_weight: rows of a weight, whose bits some macros add up in analog along a column.
        driven: rows driven in a read; None: all.
        converted: columns converted in a read; None: all. Fewer where columns of a weight are joined before
            the ADC.
    """

    rows: int
    columns: int
    columns_per_weight: int = 1
    weight_bits: int = 1
    input_bits: int = 1
    dac_bits: int = 1
    rows_per_weight: int = 1
    driven: int | None = None
    converted: int | None = None

    def __post_init__(self) -> None:
        if self.columns % self.columns_per_weight:
            raise InputError(
                f"macro columns (={self.columns}) must be a multiple of the columns per weight "
                f"(={self.columns_per_weight})"
            )

    @property
    def slices(self) -> int:
        """Reads for a whole input."""
        return -(-self.input_bits // self.dac_bits)

    @property
    def operations(self) -> int:
        """Of a whole input vector, two for each multiply-accumulate."""
        inputs = (self.driven or self.rows) // self.rows_per_weight
        outputs = self.columns // self.columns_per_weight
        return 2 * inputs * outputs


def macro_energy(table: ComponentTable, macro: Macro) -> StageEnergy:
    """What a macro costs for one input vector; inputs, sums and outputs that come and go are not counted.

    Raises:
        InputError: a formula of the table cannot be computed for this macro.
    """
    driven = macro.driven or macro.rows
    weights = macro.columns // macro.columns_per_weight
    converted = macro.converted or macro.columns
    slices = macro.slices
    activity = StageActivity(
        tiles=1,
        activations=1,
        drives=1,
        turns=1,
        slices=slices,
        columns_per_weight=macro.columns_per_weight,
        longest=1,
        rows=driven * slices,
        conversions=converted * slices,
        columns=weights * slices,
        cells=driven * macro.columns * slices,
        sums=weights,
        additions=0,
        inputs=0,
        outputs=0,
        steered=0,
        kernel=1,
        macs=macro.operations // 2,
        weight_bits=macro.weight_bits,
        input_bits=macro.input_bits,
    )
    # A weight's bits are spread over its columns and, in some macros, over its rows too.
    cell_bits = -(-macro.weight_bits // (macro.columns_per_weight * macro.rows_per_weight))
    # Published macros convert columns as they are.
    array = ArraySpec(macro.rows, macro.columns, cell_bits, "differential", macro.dac_bits, converts=COLUMNS)
    whole = stage_energy(table, array, activity)
    inside = {name: value for name, value in whole.energy.items() if name not in OUTSIDE}
    return StageEnergy(activity, inside, whole.area, whole.leakage, whole.latency)
