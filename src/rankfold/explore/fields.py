"""The fields of a described chip that a space may vary, by their place in the chip's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from rankfold.cost.energy.table import ZIGZAG, load_table
from rankfold.errors import InputError, did_you_mean
from rankfold.machine import ChipSpec, load_hardware
from rankfold.machine.chip import INTERCONNECTS
from rankfold.machine.description import ARRAY_PLACES, CONVERTER_PLACES
from rankfold.machine.figures import FIGURES, far_off, figure_at
from rankfold.machine.hardware import OF_ARRAY
from rankfold.mapping import ArraySpec
from rankfold.records.schema import package_schema, strict_validator

HARDWARE = "hardware"
WHOLE_ARRAY = "hardware/array"  # rows and columns in one word
TECHNOLOGY = "hardware/technology"
KIND = "interconnect/kind"
CHIP = "array"  # the section of a chip's file whose figures are the chip's own fields
VALUE = "value"


@dataclass(frozen=True)
class Field:
    """One field of a chip.

    Attributes:
        place: in the chip's file, such as `buffer/size`.
        read: an entry of a file as a value, in the unit that is computed with; raises InputError.
        early: its turn among the fields of a point: what much of a chip's evaluation depends on comes before
            what little does, so that neighbouring points have much in common.
    """

    place: str
    read: Callable[[Any], Any]
    early: int


def fields(folder: Path | None = None) -> Mapping[str, Field]:
    """All fields by place.

    Args:
        folder: where files that values name lie; None: here.
    """
    known = [
        Field(HARDWARE, lambda entry: _read_hardware(entry, folder), 0),
        Field(WHOLE_ARRAY, _read_array, 1),
    ]
    known += [_of_hardware(f"{HARDWARE}/{section}/{key}", 1) for section, key in ARRAY_PLACES.values()]
    known.append(Field(TECHNOLOGY, _read_technology, 2))
    known += [_of_hardware(f"{HARDWARE}/{section}/{key}", 2) for section, key in CONVERTER_PLACES.values()]
    known.append(Field(KIND, _read_kind, 3))
    for place in FIGURES:
        # Numbers of cores decide about places and traffic, other figures about time and energy alone.
        early = 3 if place in ("cores/count", "cores/arrays") else 4
        known.append(_of_chip(place, early))
    return {one.place: one for one in known}


def with_fields(chip: ChipSpec, changes: Mapping[str, Any]) -> ChipSpec:
    """A chip with other values in some of its fields, all of them put in at once.

    Args:
        chip: the chip.
        changes: values by place.

    Raises:
        InputError: they contradict each other, or the chip has no such section.
    """
    hardware = changes.get(HARDWARE, chip.hardware)
    sections: dict[str, dict[str, Any]] = {}
    for place, value in changes.items():
        if place.partition("/")[0] != HARDWARE:
            section, key = place.split("/")
            sections.setdefault(section, {})[key] = value
    own = sections.pop(CHIP, {})
    for section, values in sections.items():
        before = getattr(chip, section)
        if before is None:
            raise InputError(f"{section}/{next(iter(values))}: {chip.name} has no {section}")
        own[section] = replace(before, **values)
    return replace(chip, hardware=hardware.altered(**_of_altered(changes)), **own)


def array_with(chip: ChipSpec, changes: Mapping[str, Any]) -> ArraySpec:
    """The arrays of a chip with other values in some of its fields.

    Raises:
        InputError: the values contradict each other.
    """
    array: ArraySpec = changes.get(HARDWARE, chip.hardware).array
    return replace(array, **{name: value for name, value in _of_altered(changes).items() if name in OF_ARRAY})


def warning_of(place: str, value: Any) -> str | None:
    """A sentence about a value that is far from what is known of its field; None: it is not."""
    if place not in FIGURES:
        return None
    return far_off(place, value)


def unknown_field(place: str) -> str:
    """What is said of a place that is none."""
    known = fields()
    sections = {section for name in known for section in _above(name)}
    hint = did_you_mean(place, [*known, *sorted(sections)])
    return f"no field of a chip is there; some are buffer/size, cores/count and hardware/cells/bits{hint}"


def is_section(place: str) -> bool:
    """Whether fields lie within a place."""
    return any(place in _above(name) for name in fields())


def _above(place: str) -> list[str]:
    """The sections that a field lies in."""
    steps = place.split("/")
    return ["/".join(steps[:number]) for number in range(1, len(steps))]


def _of_altered(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of changes that `Hardware.altered` takes, as it takes them."""
    altered: dict[str, Any] = {}
    for place, value in changes.items():
        if place == WHOLE_ARRAY:
            altered |= {"rows": value.rows, "columns": value.columns}
        elif place in _altered():
            altered[_altered()[place]] = value
    return altered


@cache
def _altered() -> Mapping[str, str]:
    """What `Hardware.altered` calls fields, by place."""
    places = {"/".join((HARDWARE, *place)): name for name, place in ARRAY_PLACES.items()}
    places |= {"/".join((HARDWARE, *place)): name for name, place in CONVERTER_PLACES.items()}
    return {**places, TECHNOLOGY: "technology"}


def _of_chip(place: str, early: int) -> Field:
    def read(entry: Any) -> float:
        return figure_at(place, _checked(entry, place, _part("chip.schema.json", place)))

    return Field(place, read, early)


def _of_hardware(place: str, early: int) -> Field:
    def read(entry: Any) -> Any:
        value = _checked(entry, place, _part("hardware.schema.json", place.removeprefix(f"{HARDWARE}/")))
        return value[VALUE] if isinstance(value, dict) else value

    return Field(place, read, early)


def _read_hardware(entry: Any, folder: Path | None) -> Any:
    name = _checked(entry, HARDWARE, strict_validator({"type": "string", "minLength": 1}))
    return load_hardware(name, folder)


def _read_technology(entry: Any) -> str:
    name: str = _of_hardware(TECHNOLOGY, 2).read(entry)
    if name != ZIGZAG:
        load_table(name)  # an unknown one is refused before anything is run
    return name


def _read_array(entry: Any) -> ArraySpec:
    return ArraySpec.parse(_checked(entry, WHOLE_ARRAY, strict_validator({"type": "string"})), WHOLE_ARRAY)


def _read_kind(entry: Any) -> str:
    kind: str = _checked(entry, KIND, strict_validator({"enum": list(INTERCONNECTS)}))
    return kind


def _checked(entry: Any, place: str, validator: Any) -> Any:
    """An entry that a validator takes.

    Raises:
        InputError: it does not.
    """
    error = next(validator.iter_errors(entry), None)
    if error is not None:
        raise InputError(f"{place}: {error.message}")
    return entry


@cache
def _part(file: str, place: str) -> Any:
    """A validator for the part of a schema of the package that is of a place."""
    part: Any = package_schema("rankfold.machine", file)
    for step in place.split("/"):
        part = part["properties"][step]
    return strict_validator(part)
