"""`ComponentTable`: what the parts of an array cost, as formulae with their sources, read from YAML that
users copy and edit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from rankfold.arguments import WHOLE, plain_numbers_
from rankfold.cost.energy.formula import Formula
from rankfold.documents import in_schema, parse_yaml
from rankfold.errors import InputError, UnpricedCellsError
from rankfold.files import package_data
from rankfold.machine import DEFAULT_HARDWARE
from rankfold.mapping import ArraySpec
from rankfold.records.schema import strict_validator

TABLES = ("rram-22nm", "rram-32nm", "sram-22nm", "sram-32nm")
DEFAULT_TABLE = DEFAULT_HARDWARE.technology
DAC_BITS = 1  # of arrays that do not say
SUFFIXES = (".yaml", ".yml")
ZIGZAG = "zigzag"  # a technology without a file: see `zigzag_table`
DIFFERENCE = "difference"  # an event
ADC = "adc"  # the component that the chosen ADC is
ADC_BITS = 16  # at most
_FILES = package_data("rankfold.cost.energy")
# Values that every formula may use; these ones try a table out when it is read.
SAMPLE = {
    "rows": 64.0,
    "columns": 64.0,
    "mux": 8.0,
    "subtractors": 8.0,
    "vdd": 0.9,
    "node": 28.0,
    "adc_bits": 5.0,
    "dac_bits": 1.0,
    "cell_bits": 1.0,
    "weight_bits": 4.0,
    "input_bits": 4.0,
    "weight_columns": 4.0,
    "sum_bits": 11.0,
    "slices": 4.0,
    "kernel": 9.0,
    "steered": 0.0,
}


@dataclass(frozen=True)
class Component:
    """One part of an array and what surrounds it.

    Attributes:
        name: its name in results.
        per: the event that costs energy, one of those of `engine.events`; None: no dynamic energy.
        energy: fJ an event.
        area: um2 an array; None: not counted.
        leakage: uW an array; None: not counted.
        source: of the energy.
    """

    name: str
    per: str | None = None
    energy: Formula | None = None
    area: Formula | None = None
    leakage: Formula | None = None
    source: str = ""


@dataclass(frozen=True)
class Adc:
    """A kind of ADC, as it converts one column.

    Attributes:
        kind: its name.
        energy: fJ a conversion.
        time: ns.
        area: um2 an ADC; an array has ceil(columns / mux).
        source: of the energy.
    """

    kind: str
    energy: Formula
    time: Formula
    area: Formula
    source: str


@dataclass(frozen=True)
class CellWrite:
    """What writing weights into cells takes.

    Attributes:
        time: ns of a row of an array, whose cells are written at once.
        energy: fJ of a cell.
        source: of the energy.
        endurance: writes that a cell lasts; None: without end.
    """

    time: Formula
    energy: Formula
    source: str
    endurance: float | None = None


@dataclass(frozen=True, kw_only=True)
class ComponentTable:
    """What an array's components cost.

    Attributes:
        name: of the table.
        node: nm.
        cell: `sram`, `rram`, ...
        vdd: V.
        cell_bits: bits a cell stores where the array does not say.
        coding: of signed weights in these cells, and
        converts: what the ADCs see of them; see `ArraySpec`.
        most_cell_bits: bits a cell can store.
        mux: columns that share an ADC, one after another.
        active_rows: share of driven rows whose input bit is 1.
        active_cells: share of cells that conduct.
        adc: the kind in use, a key of `adcs`.
        adc_bits: its resolution.
        step_time: ns of one read step.
        components: all but the ADC.
        adcs: the kinds of ADC.
        write: what writing cells takes; None: the table does not say.
    """

    name: str
    node: float
    cell: str
    vdd: float
    cell_bits: int
    coding: str = "offset"
    converts: str = "columns"
    most_cell_bits: int
    mux: int
    active_rows: float
    active_cells: float
    adc: str
    adc_bits: int
    step_time: Formula
    components: tuple[Component, ...]
    adcs: tuple[Adc, ...]
    write: CellWrite | None = None

    def __post_init__(self) -> None:
        if self.adc not in self.adc_kinds:
            raise InputError(
                f"adc (={self.adc}) must be one of {', '.join(self.adc_kinds)}, which {self.name} describes"
            )
        plain_numbers_(self)
        if not WHOLE.fits(self.adc_bits) or not 1 <= self.adc_bits <= ADC_BITS:
            raise InputError(f"adc_bits (={self.adc_bits}) must be a whole number from 1 to {ADC_BITS}")
        if not WHOLE.fits(self.mux) or self.mux < 1:
            raise InputError(f"mux (={self.mux}) must be a whole number, 1 or more")
        if self.cell_bits > self.most_cell_bits:
            raise InputError(
                f"{self.name}: cell_bits: default (={self.cell_bits}) is more than most "
                f"(={self.most_cell_bits})"
            )

    @property
    def adc_kinds(self) -> tuple[str, ...]:
        """Kinds of ADC that the table describes."""
        return tuple(adc.kind for adc in self.adcs)

    @property
    def chosen_adc(self) -> Adc:
        """The ADC in use."""
        return next(adc for adc in self.adcs if adc.kind == self.adc)

    @property
    def names(self) -> tuple[str, ...]:
        """Components, the ADC first."""
        return (ADC, *(component.name for component in self.components))

    def with_adc(
        self, kind: str | None = None, bits: int | None = None, mux: int | None = None
    ) -> ComponentTable:
        """The table with another ADC, another resolution, or other columns that share one.

        Raises:
            InputError: the table describes no such ADC, bits are not from 1 to 16, or nothing shares one.
        """
        if bits is None:
            bits = self.adc_bits
        if mux is None:
            mux = self.mux
        return replace(self, adc=kind or self.adc, adc_bits=bits, mux=mux)

    def with_cells(self, array: ArraySpec) -> ArraySpec:
        """The array, with cells of this technology where it names none.

        They come with the table's coding and with what its converters see, but where the array asks for other
        than the usual ones.
        """
        if array.cell_bits is not None:
            return array
        usual = ArraySpec(array.rows, array.columns)
        coding, converts = array.coding, array.converts
        if coding == usual.coding:
            coding = self.coding
        if converts == usual.converts:
            converts = self.converts
        return replace(array, cell_bits=self.cell_bits, coding=coding, converts=converts)

    def for_array(
        self,
        array: ArraySpec,
        adc: str | None = None,
        adc_bits: int | None = None,
        mux: int | None = None,
    ) -> ComponentTable:
        """The table with the ADCs of an array, which `find_table` says the meaning of.

        Raises:
            InputError: as `with_adc`.
        """
        if mux is None:
            mux = min(self.mux, array.columns)
        return self.with_adc(adc, adc_bits, mux)

    def check_cells(self, array: ArraySpec) -> None:
        """Refuse an array whose cells store more bits than the technology's do.

        Raises:
            UnpricedCellsError: they do.
        """
        if array.cell_bits is not None and array.cell_bits > self.most_cell_bits:
            raise UnpricedCellsError(
                f"array cell_bits (={array.cell_bits}): cells of {self.name} store at most "
                f"{self.most_cell_bits}; lower cell_bits or choose another technology"
            )

    def check_converters(self, array: ArraySpec) -> None:
        """Refuse an array whose ADCs see differences, where nothing says what it costs to subtract.

        Raises:
            InputError: the table has no component that is paid for each difference.
        """
        if array.subtracts and not any(part.per == DIFFERENCE for part in self.components):
            raise InputError(
                f"{self.name} says nothing of what a subtraction before the ADC costs; give it a component "
                f"per {DIFFERENCE}, as rankfold energy --show-table {DEFAULT_TABLE} has, or convert columns"
            )

    def check(self) -> None:
        """Evaluate every formula once.

        Raises:
            InputError: a formula is wrong; the message names it.
        """
        sample = {**SAMPLE, "vdd": self.vdd, "node": self.node, "mux": float(self.mux)}
        for component in self.components:
            for formula in (component.energy, component.area, component.leakage):
                if formula is not None:
                    formula.check(sample)
        for adc in self.adcs:
            for formula in (adc.energy, adc.time, adc.area):
                formula.check(sample)
        if self.write is not None:
            self.write.time.check(sample)
            self.write.energy.check(sample)
        # Only the time of a step may use that of the ADC, which is computed before it.
        self.step_time.check({**sample, "adc_time": 1.0})

    @classmethod
    def from_yaml(cls, text: str, where: str, *, checked: bool = False) -> ComponentTable:
        """Read a table.

        Args:
            text: the YAML.
            where: its name, for complaints.
            checked: it is known to follow the schema.

        Raises:
            InputError: not YAML, not of the schema, or with a formula that cannot be computed; the message
                names the place.
        """
        content = parse_yaml(text, where)
        # Before anything is looked up in it, so that a missing part is named with its place.
        if not checked:
            in_schema(content, _validator(), f"{where} is not a component table")
        technology, adc, activity = content["technology"], content["adc"], content["activity"]
        cell_bits = content["cell_bits"]  # whole numbers may be written 8.0
        try:
            table = cls(
                name=content["name"],
                node=technology["node"],
                cell=technology["cell"],
                vdd=technology["vdd"],
                cell_bits=int(cell_bits["default"]),
                coding=content.get("coding", "offset"),
                converts=content.get("converts", "columns"),
                most_cell_bits=int(cell_bits["most"]),
                mux=int(content["mux"]),
                active_rows=activity["rows"],
                active_cells=activity["cells"],
                adc=adc["kind"],
                adc_bits=int(adc["bits"]),
                step_time=_formula(content["step_time"], "step_time"),
                components=tuple(_component(name, entry) for name, entry in content["components"].items()),
                adcs=tuple(_adc(kind, entry) for kind, entry in content["adcs"].items()),
                write=_write(content.get("write")),
            )
            table.check()
        # Formulae say where they are in the table, and this says which table.
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        return table


def is_table_file(name: str) -> bool:
    """Whether a technology is named by a file, and not by one of `TABLES`."""
    return name.lower().endswith(SUFFIXES)


def load_table(name: str) -> ComponentTable:
    """The component table that a user means: one of `TABLES`, or a YAML file.

    Raises:
        InputError: there is none of that name, or the file is missing or wrong.
    """
    if name in TABLES:
        return _own_table(name)
    return ComponentTable.from_yaml(table_text(name), name)


@cache
def _own_table(name: str) -> ComponentTable:
    """One of `TABLES`, read once: they are frozen, and a command looks at them several times."""
    # They are held against the schema by a test, which costs each command a fifth of a second.
    return ComponentTable.from_yaml(table_text(name), name, checked=True)


def table_text(name: str) -> str:
    """The YAML of a component table, with its comments.

    Raises:
        InputError: there is none of that name, or the file cannot be read.
    """
    if name in TABLES:
        return (_FILES / "tables" / f"{name}.yaml").read_text(encoding="utf-8")
    if name == ZIGZAG:
        raise InputError(f"{name} has no table to copy: zigzag-dse computes its figures for each array")
    if not is_table_file(name):
        raise InputError(
            f"technology (={name}) must be one of {', '.join(TABLES)}, {ZIGZAG}, or a .yaml file"
        )
    try:
        return Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"cannot read {name}: it is not text in UTF-8") from None


@cache
def _validator() -> Any:
    schema = (_FILES / "components.schema.json").read_text(encoding="utf-8")
    return strict_validator(json.loads(schema), whole_as_fractions=True)


def _formula(entry: Mapping[str, Any], where: str) -> Formula:
    constants = tuple(
        (name, float(constant["value"])) for name, constant in entry.get("constants", {}).items()
    )
    return Formula(str(entry["formula"]), constants, where)


def _component(name: str, entry: Mapping[str, Any]) -> Component:
    place = f"components/{name}"
    parts = {key: _formula(entry[key], f"{place}/{key}") for key in ("area", "leakage") if key in entry}
    energy = None
    # The entry itself is the energy's formula; area and leakage are formulae within it.
    if "per" in entry:
        energy = _formula(entry, f"{place}/formula")
    return Component(name, entry.get("per"), energy, source=entry.get("source", "").strip(), **parts)


def _adc(kind: str, entry: Mapping[str, Any]) -> Adc:
    parts = {key: _formula(entry[key], f"adcs/{kind}/{key}") for key in ("energy", "time", "area")}
    return Adc(kind, **parts, source=entry["energy"]["source"].strip())


def _write(entry: Mapping[str, Any] | None) -> CellWrite | None:
    # Tables of users may be older than it.
    if entry is None:
        return None
    endurance = None
    if "endurance" in entry:
        endurance = float(entry["endurance"]["value"])
    return CellWrite(
        _formula(entry["time"], "write/time"),
        _formula(entry["energy"], "write/energy"),
        entry["energy"]["source"].strip(),
        endurance,
    )
