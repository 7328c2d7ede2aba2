"""`ArraySpec`: the in-memory-computing array that layers are mapped onto, and what precision costs on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from rankfold.arguments import WHOLE, Wanted, plain_numbers_
from rankfold.errors import FieldError, InputError, NarrowArrayError
from rankfold.workload.shape import is_count

CODINGS = ("offset", "differential")
COLUMNS, DIFFERENCES = "columns", "differences"
CONVERSIONS = (COLUMNS, DIFFERENCES)
TWOS_COMPLEMENT, SIGN_MAGNITUDE, DIFFERENTIAL = "twos-complement", "sign-magnitude", "differential"
INPUT_CODINGS = (TWOS_COMPLEMENT, SIGN_MAGNITUDE, DIFFERENTIAL)
# Fields of `ArraySpec` beside its size.
CELLS = ("cell_bits", "coding", "dac_bits", "rows_driven", "converts", "input_coding")
MOST_LINES = 1 << 20  # far above any array that was ever built; guards against slips of the keyboard
MOST_BITS = 32


@dataclass(frozen=True)
class ArraySpec:
    """One R x C array.

    With the defaults a cell holds a whole weight and a DAC drives a whole input: one column per weight and
    one cycle per activation, as the mapping papers count. `cell_bits` and `dac_bits` describe real arrays;
    `in_weights` then gives the array that a mapping sees, and `cycles_per_vector` what one of the papers'
    cycles takes. Where `cell_bits` alone is given, weights are stored and converted so that coarse ADCs keep
    the accuracy of networks; offset coding whose columns are converted takes them to chance at 5 bits.

    Attributes:
        rows: R, word lines: inputs driven at once.
        columns: C, bit lines: outputs read at once.
        cell_bits: bits one cell stores; None: a whole weight.
        coding: how signed weights are stored, `offset` (a constant is added to each, and taken off again with
            the help of one reference column per array; Shafiee et al., "ISAAC", ISCA 2016) or `differential`
            (magnitudes in a column for positive and one for negative weights).
        dac_bits: bits of an input that are driven at once; None: the whole input.
        rows_driven: rows of an array that are driven at once, 1 to R; None: all. A tile that uses more takes
            several activations, one after another, each with conversions of its own (`turns`).
        converts: what an ADC sees: the sum of one column (`columns`), or what is left of it after another
            column's sum was subtracted in analog (`differences`): with differential coding that of the
            negative weights, with offset coding that of a reference column of half-on cells, whose share a
            digital count of the inputs adds again (`CellCoding`). This and `coding` mean nothing without
            `cell_bits`, but in energy and in levels of weights, whose cells of the technology are coded so
            where it is not the default.
        input_coding: how signed inputs are cut into slices: `twos-complement`; `sign-magnitude` (slices of
            the magnitude, each driven with the sign, which takes drivers of both signs); or `differential`
            (slices of the positive inputs in one pass and of the negative ones in another, subtracted behind
            the converters, for drivers of one sign). See `simulator.InputCoding`. Means nothing for unsigned
            inputs, nor without `dac_bits`, where an input is driven whole.
    """

    rows: int
    columns: int
    cell_bits: int | None = None
    coding: str = "differential"
    dac_bits: int | None = None
    rows_driven: int | None = None
    converts: str = DIFFERENCES
    input_coding: str = TWOS_COMPLEMENT

    def __post_init__(self) -> None:
        plain_numbers_(self)
        _check_count("rows", self.rows, MOST_LINES)
        _check_count("columns", self.columns, MOST_LINES)
        if self.cell_bits is not None:
            _check_count("cell_bits", self.cell_bits, MOST_BITS)
        if self.dac_bits is not None:
            _check_count("dac_bits", self.dac_bits, MOST_BITS)
        _check_word("coding", self.coding, CODINGS)
        _check_word("converts", self.converts, CONVERSIONS)
        _check_word("input_coding", self.input_coding, INPUT_CODINGS)
        if self.rows_driven is not None:
            _check_driven(self.rows_driven, self.rows)

    @classmethod
    def parse(cls, text: str, name: str = "array") -> ArraySpec:
        """Read `64x64` (rows x columns).

        Args:
            text: it.
            name: what messages call it.

        Raises:
            InputError: the text is not two positive whole numbers with an x between.
        """
        sizes = text.strip().lower().split("x")
        if len(sizes) != 2 or not all(map(is_count, sizes)):
            raise InputError(f"{name} (={text}) must be rows x columns, such as 64x64 or 512x256")
        rows, columns = sizes
        return cls(int(rows), int(columns))

    @property
    def counts_vectors(self) -> bool:
        """Whether an activation takes a whole vector, as papers count: no cells, DACs or driven rows are
        named.
        """
        return self.cell_bits is None and self.dac_bits is None and self.rows_driven is None

    @property
    def subtracts(self) -> bool:
        """Whether a column's sum is subtracted from another's before it is converted."""
        return self.cell_bits is not None and self.converts == DIFFERENCES

    @property
    def coding_in_words(self) -> str:
        """How weights are stored and sums are converted, such as `differential coding`."""
        words = f"{self.coding} coding"
        if self.subtracts:
            words += ", differences converted"
        return words

    @property
    def inputs_in_words(self) -> str:
        """How inputs are driven, such as `1-bit DACs, sign-magnitude inputs`."""
        words = "whole inputs"
        if self.dac_bits is not None:
            words = f"{self.dac_bits}-bit DACs"
            if self.input_coding != TWOS_COMPLEMENT:
                words += f", {self.input_coding} inputs"
        if self.rows_driven is not None:
            words += f", {self.rows_driven} rows at once"
        return words

    @property
    def has_reference(self) -> bool:
        """Whether one column of every array holds nothing but the offset of the others."""
        return self.cell_bits is not None and self.coding == "offset"

    @property
    def reference_conversions(self) -> int:
        """Conversions of a reference column in each read: none where it is subtracted in analog."""
        return int(self.has_reference and not self.subtracts)

    def conversions_per_weight(self, weight_bits: int) -> int:
        """Sums that one weight has converted in each read: its columns, or pairs of them.

        Raises:
            InputError: `weight_bits` is not a whole number from 1 to 32.
        """
        columns = self.columns_per_weight(weight_bits)
        if self.subtracts and self.coding == "differential":
            return columns // 2
        return columns

    @property
    def cells(self) -> int:
        """R * C."""
        return self.rows * self.columns

    def columns_per_weight(self, weight_bits: int) -> int:
        """Physical columns that one weight takes: with offset coding ceil(bits/cell_bits).

        With differential coding they are 2 * ceil((bits-1)/cell_bits).

        Raises:
            InputError: `weight_bits` is not a whole number from 1 to 32.
        """
        _check_bits("weight_bits", weight_bits)
        if self.cell_bits is None:
            return 1
        if self.coding == "offset":
            return -(-weight_bits // self.cell_bits)
        # The sign is in the choice of the column.
        return 2 * _magnitude_cells(weight_bits, self.cell_bits)

    def lacks_lowest(self, weight_bits: int) -> bool:
        """Whether its cells hold all weights of so many bits but -2^(b-1), see `lowest_weight`.

        Raises:
            InputError: `weight_bits` is not a whole number from 1 to 32.
        """
        _check_bits("weight_bits", weight_bits)
        return lowest_weight(weight_bits, self.cell_bits, self.coding) > -(1 << weight_bits - 1)

    def in_weights(self, weight_bits: int) -> ArraySpec:
        """The array as a mapping sees it: columns counted in weights, none of which is split over two arrays.

        Raises:
            NarrowArrayError: not one weight of `weight_bits` fits in a row.
        """
        if self.cell_bits is None:
            return self
        usable = self.columns
        if self.coding == "offset":
            usable -= 1  # the reference column
        columns = usable // self.columns_per_weight(weight_bits)
        if columns < 1:
            raise NarrowArrayError(
                f"array columns (={self.columns}) do not hold one weight of {weight_bits} bits in cells of "
                f"{self.cell_bits}; use a wider array or more bits per cell"
            )
        return replace(self, columns=columns, cell_bits=None)

    def passes(self, signed: bool | None) -> int:
        """Times that the slices of an input vector are driven: twice where signs have passes of their own.

        Args:
            signed: whether inputs can be negative; None: not known, and counted as if they could.
        """
        apart = self.dac_bits is not None and self.input_coding == DIFFERENTIAL
        return 1 + int(apart and signed is not False)

    def cycles_per_vector(self, input_bits: int, signed: bool | None = None) -> int:
        """Array activations that drive one input vector, bit slice by bit slice.

        They are ceil(bits/dac_bits); of the magnitudes of signed inputs ceil((bits-1)/dac_bits), in each of
        `passes`.

        Args:
            input_bits: of an input.
            signed: whether inputs can be negative; None: not known, and as many as either takes at most.

        Raises:
            InputError: `input_bits` is not a whole number from 1 to 32.
        """
        _check_bits("input_bits", input_bits)
        if self.dac_bits is None:
            return 1
        whole = -(-input_bits // self.dac_bits)
        if self.input_coding == TWOS_COMPLEMENT or signed is False:
            return whole
        magnitude = -(-max(1, input_bits - 1) // self.dac_bits)
        taken = magnitude * self.passes(signed)
        if signed is None:
            return max(whole, taken)
        return taken

    def turns(self, rows: int) -> int:
        """Activations, one after another, that drive `rows` rows of a tile: ceil(rows/rows_driven)."""
        if self.rows_driven is None:
            return 1
        return -(-rows // self.rows_driven)

    def to_json(self) -> dict[str, Any]:
        """Its fields; `input_coding` only where it is named: files and hashes of old stay as they were."""
        content = asdict(self)
        if self.input_coding == TWOS_COMPLEMENT:
            del content["input_coding"]
        return content

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"


def _check_count(field: str, value: int, most: int) -> None:
    if not WHOLE.fits(value) or not 1 <= value <= most:
        raise FieldError(f"array {field} (={value!r}) must be a whole number from 1 to {most}", field)


def _check_word(field: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise FieldError(f"array {field} (={word}) must be one of {', '.join(known)}", field)


def _check_driven(driven: int, rows: int) -> None:
    if not WHOLE.fits(driven) or not 1 <= driven <= rows:
        raise FieldError(
            f"array rows_driven (={driven}) must be a whole number from 1 to its rows (={rows})",
            "rows_driven",
        )


def lowest_weight(weight_bits: int, cell_bits: int | None, coding: str) -> int:
    """The lowest whole weight of b bits that cells hold, -2^(b-1) or the next one.

    Differential cells hold magnitudes of b-1 bits. That of -2^(b-1) has one more, for which only cells with
    bits to spare have a level.
    """
    lowest = -(1 << weight_bits - 1)
    if cell_bits is None or coding == "offset":
        return lowest
    cells = _magnitude_cells(weight_bits, cell_bits)
    largest_magnitude = (1 << cells * cell_bits) - 1
    return max(lowest, -largest_magnitude)


def _magnitude_cells(weight_bits: int, cell_bits: int) -> int:
    """Cells that the magnitude of a weight takes: one bit less, the sign's; one bit still needs a cell."""
    return max(1, -(-(weight_bits - 1) // cell_bits))


def _check_bits(label: str, bits: int) -> None:
    if not WHOLE.fits(bits) or not 1 <= bits <= MOST_BITS:
        raise InputError(f"{label} (={bits}) must be a whole number from 1 to {MOST_BITS}")


# For `arguments.takes`.
ARRAY = Wanted("an ArraySpec, such as ArraySpec(64, 64)", ArraySpec)
