"""Descriptions of chips as files: YAML with a schema, a unit and a source for every figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rankfold.arguments import PATH, takes
from rankfold.documents import in_schema, parse_yaml
from rankfold.errors import InputError
from rankfold.machine.chip import Buffer, ChipSpec, Cores, Interconnect, OffChip, Writing
from rankfold.machine.description import from_json, hardware_names, load_hardware
from rankfold.machine.figures import FIGURES, SOURCE, far_off, figure_at
from rankfold.machine.hardware import Hardware
from rankfold.machine.presets import Presets
from rankfold.records.schema import schema_validator

PRESETS = Presets("chip", "chips")


def chip_names() -> tuple[str, ...]:
    """The chips that the package describes."""
    return PRESETS.names


@takes(name=PATH)
def load_chip(name: str | Path) -> ChipSpec:
    """A chip by the name of a description of the package, or from a YAML file.

    Args:
        name: one of `chip_names()`, or the path of a file that ends in .yaml, .yml or .json.

    Raises:
        InputError: there is none of that name, the file cannot be read, does not follow the schema, or its
            figures contradict each other; the message names the place.
    """
    text = chip_text(name)
    folder = None
    if str(name) not in chip_names():
        folder = Path(name).parent
    return chip_from_json(parse_yaml(text, str(name)), str(name), folder)


def chip_text(name: str | Path) -> str:
    """The YAML of a description, with its comments, to be copied and edited.

    Raises:
        InputError: there is none of that name, or the file cannot be read.
    """
    return PRESETS.text(name, chip_names())


def chip_from_json(content: Any, where: str, folder: Path | None = None) -> ChipSpec:
    """A chip from the content of a description.

    Args:
        content: as it was read.
        where: what it was read from, for complaints.
        folder: where files that it names lie; None: here.

    Raises:
        InputError: the content does not follow the schema, or its figures contradict each other.
    """
    what = f"{where} is no description of a chip"
    in_schema(content, schema_validator("rankfold.machine", "chip.schema.json"), what)
    try:
        return _chip(content, where, folder)
    except InputError as error:
        raise InputError(f"{what}: {error}") from None


def _chip(content: Mapping[str, Any], where: str, folder: Path | None) -> ChipSpec:
    values: dict[str, dict[str, Any]] = {}
    sources: dict[str, str] = {}
    warnings = []
    for place in FIGURES:
        section, key = place.split("/")
        entry = content.get(section, {}).get(key)
        if entry is None:
            continue
        value: float = figure_at(place, entry)
        if FIGURES[place].whole:
            value = int(value)
        values.setdefault(section, {})[key] = value
        if isinstance(entry, dict) and SOURCE in entry:
            sources[place] = " ".join(entry[SOURCE].split())
        warning = far_off(place, value)
        if warning is not None:
            warnings.append(warning)
    memory = None
    if "memory" in content:
        memory = OffChip(**values["memory"])
    return ChipSpec(
        name=content["name"],
        hardware=_hardware(content["hardware"], where, folder),
        cores=Cores(**values["cores"]),
        buffer=Buffer(**values["buffer"]),
        interconnect=Interconnect(kind=content["interconnect"]["kind"], **values["interconnect"]),
        memory=memory,
        writing=Writing(**values.get("cells", {})),
        **values.get("array", {}),
        sources=sources,
        warnings=tuple(warnings),
    )


def _hardware(entry: Any, where: str, folder: Path | None) -> Hardware:
    """What a chip says of its arrays: a description within it, or the name or file of one."""
    if isinstance(entry, dict):
        return from_json(entry, f"hardware of {where}", folder)
    if folder is not None and entry not in hardware_names():
        entry = folder / entry
    return load_hardware(entry)
