"""The methods that are known, by name: `register_method` and the settings of all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from rankfold.errors import InputError
from rankfold.plan.kinds.kind import is_needed
from rankfold.plan.methods.method import Method
from rankfold.plan.methods.setting import Setting

# By name, in the order of registration.
METHODS: dict[str, type[Method]] = {}


def register_method(method: type[Method]) -> None:
    """Make a method known to the command line, to grids of runs, and to their tables.

    Raises:
        InputError: the name is taken, a setting is no field of the method, or another method has a setting of
            that name which is another thing.
    """
    if method.name in METHODS:
        raise InputError(f"a method named {method.name} is registered already; choose another name")
    own = {field.name for field in fields(method)}
    known = settings()
    for setting in method.settings:
        if setting.name not in own:
            raise InputError(f"method {method.name}: setting {setting.name} must be a field of the class")
        # All methods share the options of the command line, and the columns of tables.
        if known.get(setting.name, setting) != setting:
            raise InputError(
                f"method {method.name}: another method has a setting {setting.name}, which is another thing; "
                "choose another name"
            )
    METHODS[method.name] = method


@contextmanager
def registered_method(method: type[Method]) -> Iterator[None]:
    """Inside, the method is registered."""
    register_method(method)
    try:
        yield
    finally:
        del METHODS[method.name]


def offered_methods() -> dict[str, type[Method]]:
    """The registered methods, by name, that the command line offers."""
    return {name: method for name, method in METHODS.items() if not method.in_grids_alone}


def settings(methods: Iterable[type[Method]] | None = None) -> dict[str, Setting]:
    """The settings of methods by name, each once; None: of all registered ones."""
    found: dict[str, Setting] = {}
    for method in METHODS.values() if methods is None else methods:
        for setting in method.settings:
            found.setdefault(setting.name, setting)
    return found


def needed_settings(method: type[Method]) -> tuple[Setting, ...]:
    """The settings that a method cannot do without."""
    needed = {field.name for field in fields(method) if is_needed(field)}
    return tuple(setting for setting in method.settings if setting.name in needed)


def method_with(name: str, given: Mapping[str, Any]) -> Method:
    """The method of this name, with what is given of its settings and nothing else.

    Args:
        name: one of `METHODS`.
        given: values by the names of settings; texts mean what they do on the command line.

    Raises:
        InputError: a setting is not the method's, has a value that it cannot have, or is missing.
    """
    method = METHODS[name]
    known = {setting.name: setting for setting in method.settings}
    values = {}
    for choice, value in given.items():
        if choice not in known:
            raise InputError(f"{choice} (={value}) does not go with method {name}")
        values[choice] = value
        if isinstance(value, str):
            values[choice] = known[choice].read(value)
    for setting in needed_settings(method):
        if setting.name not in given:
            raise InputError(f"method {name} needs {setting.name}, such as {setting.example}")
    return method(**values)
