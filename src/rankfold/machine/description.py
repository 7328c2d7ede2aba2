"""Descriptions of hardware as files: YAML with a schema, a unit and a source for every figure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rankfold.arguments import PATH, takes
from rankfold.documents import in_schema, parse_yaml
from rankfold.errors import FieldError, InputError
from rankfold.machine.hardware import DEFAULT_HARDWARE, OF_NOISE, Hardware
from rankfold.machine.nonideal import NonIdealities
from rankfold.machine.presets import Presets
from rankfold.mapping import ArraySpec
from rankfold.records.schema import schema_validator
from rankfold.records.typed import typed

TYPE, VERSION = "rankfold.hardware", 1
PRESETS = Presets("hardware", "presets")
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "y": 365.25 * 86400}
VALUE, UNIT, SOURCE = "value", "unit", "source"
# Fields of `ArraySpec` and `Hardware`: their section of a file, and their key in it.
ARRAY_PLACES = {
    "rows": ("array", "rows"),
    "columns": ("array", "columns"),
    "cell_bits": ("cells", "bits"),
    "coding": ("cells", "coding"),
    "dac_bits": ("dac", "bits"),
    "rows_driven": ("array", "rows_driven"),
    "converts": ("adc", "converts"),
    "input_coding": ("dac", "coding"),
}
CONVERTER_PLACES = {"adc": ("adc", "kind"), "adc_bits": ("adc", "bits"), "mux": ("adc", "mux")}
NOISE_PLACES = {name: ("noise", name) for name in OF_NOISE} | {"adc_range": ("adc", "range")}
PLACES = ARRAY_PLACES | CONVERTER_PLACES | NOISE_PLACES


def hardware_names() -> tuple[str, ...]:
    """The descriptions that the package has, the default first."""
    return (DEFAULT_HARDWARE.name, *PRESETS.names)


@takes(name=PATH)
def load_hardware(name: str | Path, folder: Path | None = None) -> Hardware:
    """Hardware by the name of a description of the package, or from a YAML file.

    Args:
        name: one of `hardware_names()`, or the path of a file that ends in .yaml, .yml or .json.
        folder: that of the file that names the hardware, where the path may begin; None: here.

    Raises:
        InputError: there is none of that name, the file cannot be read, or it does not follow the schema;
            the message names the place.
    """
    if folder is not None and (folder / name).is_file():
        return load_hardware(folder / name)
    if str(name) == DEFAULT_HARDWARE.name:
        return DEFAULT_HARDWARE
    text = hardware_text(name)
    own_folder = None
    if str(name) not in hardware_names():
        own_folder = Path(name).parent
    return from_json(parse_yaml(text, str(name)), str(name), own_folder)


def find_hardware(hardware: Hardware | str | Path) -> Hardware:
    """Hardware that is given, or that a name or file describes.

    Raises:
        InputError: as `load_hardware`.
    """
    if isinstance(hardware, Hardware):
        return hardware
    return load_hardware(hardware)


def hardware_text(name: str | Path) -> str:
    """The YAML of a description, with its comments, to be copied and edited.

    Raises:
        InputError: there is none of that name, or the file cannot be read.
    """
    if str(name) == DEFAULT_HARDWARE.name:
        return _yaml(DEFAULT_HARDWARE)
    return PRESETS.text(name, hardware_names())


def from_json(content: Any, where: str, folder: Path | None = None) -> Hardware:
    """Hardware from the content of a description.

    Args:
        content: as it was read.
        where: what it was read from, for complaints.
        folder: where a component table that it names by a file lies; None: here.

    Raises:
        InputError: the content does not follow the schema, or its figures contradict each other.
    """
    in_schema(content, schema_validator("rankfold.machine", "hardware.schema.json"), _what(where))
    sources: dict[str, str] = {}

    def values(places: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
        found = {}
        for name, (section, key) in places.items():
            entry = content.get(section, {}).get(key)
            if entry is not None:
                found[name] = _plain(entry, f"{section}/{key}", sources)
        return found

    noise = values(NOISE_PLACES)
    if "drift" in noise:
        noise["drift"] = seconds(noise["drift"])
    try:
        return Hardware(
            name=content["name"],
            array=ArraySpec(**values(ARRAY_PLACES)),
            technology=_technology(content.get("technology", DEFAULT_HARDWARE.technology), folder),
            noise=NonIdealities(**noise),
            sources=sources,
            **values(CONVERTER_PLACES),
        )
    except FieldError as error:
        place = "/".join(PLACES[error.field])
        raise InputError(f"{_what(where)}: {place}: {error}") from None
    except InputError as error:
        raise InputError(f"{_what(where)}: {error}") from None


def to_json(hardware: Hardware) -> dict[str, Any]:
    """Hardware as a description, for files and results: what is open, or as it is ideally, is left out."""
    content: dict[str, Any] = {"name": hardware.name}
    ideal = NonIdealities()
    array = hardware.array.to_json()
    for name, place in ARRAY_PLACES.items():
        _put(content, place, array.get(name))
    for name, place in CONVERTER_PLACES.items():
        _put(content, place, getattr(hardware, name))
    for name, place in NOISE_PLACES.items():
        value = getattr(hardware.noise, name)
        if value != getattr(ideal, name):
            _put(content, place, value)
    content["technology"] = hardware.technology
    return typed(TYPE, VERSION, content)


def seconds(time: float | str) -> float:
    """A time in seconds, or a text such as `90s`, `5m`, `1h`, `2d` or `1y`, in seconds.

    Raises:
        InputError: the text is none of these.
    """
    if not isinstance(time, str):
        return float(time)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdy])", time)
    if match is None:
        raise InputError(f"drift (={time}) must be a time such as 30s, 1h or 1d")
    return float(match[1]) * SECONDS[match[2]]


def _put(content: dict[str, Any], place: tuple[str, str], value: Any) -> None:
    if value is not None:
        section, key = place
        content.setdefault(section, {})[key] = value


def _plain(entry: Any, place: str, sources: dict[str, str]) -> Any:
    """A figure without its unit; its source is noted."""
    if not isinstance(entry, dict):
        return entry
    if SOURCE in entry:
        sources[place] = " ".join(entry[SOURCE].split())
    value = entry[VALUE]
    if place == "noise/drift" and UNIT in entry:
        return float(value) * SECONDS[entry[UNIT]]
    return value


def _technology(name: str, folder: Path | None) -> str:
    """The component table; a file is looked for beside the description."""
    if folder is None or not name.lower().endswith((".yaml", ".yml")):
        return name
    return str((folder / name).absolute())


def _what(where: str) -> str:
    return f"{where} is no description of hardware"


def _yaml(hardware: Hardware) -> str:
    import yaml

    text: str = yaml.safe_dump(to_json(hardware), sort_keys=False)
    return text
