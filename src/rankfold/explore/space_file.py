"""Spaces as files: YAML with a schema, every mistake in which is named by its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from rankfold.arguments import PATH, takes
from rankfold.documents import in_schema, parse_yaml
from rankfold.errors import InputError
from rankfold.explore.fields import fields, is_section, unknown_field, warning_of
from rankfold.explore.plans import DENSE, PlanChoice, plan_choice
from rankfold.explore.space import Axis, Choice, Space
from rankfold.machine import ChipSpec, chip_names, load_chip
from rankfold.plan.methods import settings
from rankfold.records.schema import package_schema, strict_validator

MOST_VALUES = 10_000  # of a range
NAME = "name"
VALUE, UNIT = "value", "unit"


@takes(path=PATH)
def load_space(path: str | Path) -> Space:
    """A space from a YAML file.

    Raises:
        InputError: the file cannot be read, does not follow the schema, or something in it is no chip, field,
            value or plan; the message names the place.
    """
    where = Path(path)
    try:
        text = where.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a path with a null character
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise InputError(f"cannot read space {path}: {reason}") from None
    return space_from_json(parse_yaml(text, str(path)), str(path), where.parent)


def space_from_json(content: Any, where: str, folder: Path | None = None) -> Space:
    """A space from the content of a file.

    Args:
        content: as it was read.
        where: what it was read from, for complaints.
        folder: where files that it names lie; None: here.

    Raises:
        InputError: as `load_space`.
    """
    what = f"{where} is no space"
    in_schema(content, _validator(tuple(settings())), what)
    try:
        axes = tuple(sorted(_axes(content.get("vary", {}), folder), key=lambda axis: axis.early))
        return Space(
            tuple(_chip(name, folder) for name in _listed(content["chip"])),
            axes,
            tuple(_plans(content.get("plans"), folder)),
            objective=content.get("objective"),
            warnings=tuple(_warnings(axes)),
            content=content,
        )
    except InputError as error:
        raise InputError(f"{what}: {error}") from None


@cache
def _validator(names: tuple[str, ...]) -> Any:
    """A validator of spaces whose plans may have these settings of methods."""

    def with_settings(schema: dict[str, Any]) -> None:
        properties = schema["$defs"]["plan"]["properties"]
        for name in names:
            properties[name] = settings()[name].schema

    return strict_validator(package_schema("rankfold.explore", "space.schema.json", with_settings))


def _listed(entry: Any) -> list[str]:
    return entry if isinstance(entry, list) else [entry]


def _chip(name: str, folder: Path | None) -> ChipSpec:
    if folder is not None and name not in chip_names():
        return load_chip(folder / name)
    return load_chip(name)


def _plans(content: Sequence[Mapping[str, Any]] | None, folder: Path | None) -> Iterator[PlanChoice]:
    """The plans, each under a name of its own.

    Raises:
        InputError: one of them is none, or two have one name.
    """
    if content is None:
        yield DENSE
        return
    seen: dict[str, int] = {}
    for index, entry in enumerate(content):
        try:
            choice = plan_choice(entry, folder)
        except InputError as error:
            raise InputError(f"plans/{index}: {error}") from None
        if choice.name in seen:
            raise InputError(
                f"plans/{index}: it is called {choice.name} as plans/{seen[choice.name]} is; give it a name"
            )
        seen[choice.name] = index
        yield choice


def _axes(content: Mapping[str, Any], folder: Path | None) -> Iterator[Axis]:
    """What varies.

    Raises:
        InputError: a place is no field, a value is none of it, or two axes set one field.
    """
    seen: dict[str, str] = {}
    for place, values in content.items():
        try:
            choices = tuple(_choices(place, values, folder))
            _check_different(choices)
        except InputError as error:
            raise InputError(f"vary/{place}: {error}") from None
        own = {field for choice in choices for field, _ in choice.changes}
        for field in own:
            for part in _with_parts(field):
                if part in seen:
                    raise InputError(f"vary/{place}: it sets {part}, which vary/{seen[part]} sets, too")
        seen |= {part: place for field in own for part in _with_parts(field)}
        known = fields(folder)
        yield Axis(place, choices, min(known[field].early for field in own))


def _with_parts(field: str) -> tuple[str, ...]:
    """A field, or what it sets at once."""
    if field == "hardware/array":
        return "hardware/array/rows", "hardware/array/columns"
    return (field,)


def _check_different(choices: Sequence[Choice]) -> None:
    seen = set()
    for choice in choices:
        if choice.label in seen:
            raise InputError(f"{choice.label} stands there twice; keep one")
        seen.add(choice.label)


def _choices(place: str, values: Any, folder: Path | None) -> Iterator[Choice]:
    """The values of an axis.

    Raises:
        InputError: see `_axes`.
    """
    entries = values
    if isinstance(values, dict):
        entries = _range(values)
    known = fields(folder)
    if place not in known and not is_section(place):
        raise InputError(unknown_field(place))
    for index, entry in enumerate(entries):
        try:
            yield _choice(place, entry, known)
        except InputError as error:
            raise InputError(f"{index}: {error}") from None


def _choice(place: str, entry: Any, known: Mapping[str, Any]) -> Choice:
    together = isinstance(entry, dict) and VALUE not in entry
    if not together:
        if place not in known:
            raise InputError(
                f"{entry} must be an object with values of several fields of {place}, such as "
                f"{next(name for name in known if name.startswith(f'{place}/')).removeprefix(f'{place}/')}"
            )
        return Choice(_label(entry), ((place, known[place].read(entry)),))
    changes, words = [], []
    for key, value in entry.items():
        if key == NAME:
            continue
        within = f"{place}/{key}"
        if within not in known:
            raise InputError(f"{key}: {unknown_field(within)}")
        changes.append((within, known[within].read(value)))
        words.append(f"{key} {_label(value)}")
    if not changes:
        raise InputError("it sets no field")
    return Choice(str(entry.get(NAME, ", ".join(words))), tuple(changes))


def _label(entry: Any) -> str:
    """A value in words, with its unit where it says one."""
    if isinstance(entry, dict):
        return " ".join(str(entry[key]) for key in (VALUE, UNIT) if key in entry)
    return f"{entry:g}" if isinstance(entry, float) else str(entry)


def _range(values: Mapping[str, Any]) -> list[Any]:
    """The numbers of a range, both ends among them where they are met.

    Raises:
        InputError: it has none, or too many.
    """
    first, last = values["from"], values["to"]
    step, times = values.get("step"), values.get("times")
    if step is not None and times is not None:
        raise InputError("step and times do not go together; omit one of them")
    if first > last or (times is not None and first <= 0):
        raise InputError(f"from (={first}) must be at most to (={last}), and above 0 where there is times")
    found: list[Any] = []
    value = first
    while value <= last * (1 + 1e-9):
        if len(found) == MOST_VALUES:
            raise InputError(f"a range has at most {MOST_VALUES:,} values; take larger steps")
        found.append(value)
        # By counting, so that rounding does not add up.
        value = first * times ** len(found) if times is not None else first + len(found) * (step or 1)
    if UNIT in values:
        return [{VALUE: value, UNIT: values[UNIT]} for value in found]
    return found


def _warnings(axes: Sequence[Axis]) -> Iterator[str]:
    """About values far from what is known, and memories whose price stays the same whatever their size."""
    for axis in axes:
        for choice in axis.choices:
            for place, value in choice.changes:
                warning = warning_of(place, value)
                if warning is not None:
                    yield f"vary/{axis.place}: {warning}"
    set_fields = {place for axis in axes for choice in axis.choices for place, _ in choice.changes}
    if "buffer/size" in set_fields and not {"buffer/area", "buffer/energy"} <= set_fields:
        yield (
            "vary: buffer/size varies, and buffer/area and buffer/energy do not: large buffers cost no more "
            "than small ones; let them vary together (buffer: [{size: ..., area: ..., energy: ...}])"
        )
