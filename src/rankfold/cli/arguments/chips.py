"""The chips that users name on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rankfold.cost.energy import completed
from rankfold.errors import InputError, NarrowArrayError
from rankfold.machine import ChipSpec, load_chip


def named_chip(name: str) -> ChipSpec:
    """A chip by its name or file, whose arrays go with its technology.

    Raises:
        InputError: there is no such chip, or its description is wrong.
    """
    chip = load_chip(name)
    try:
        completed(chip.hardware)
    except InputError as error:
        raise InputError(f"{name}: hardware: {error}") from None
    return chip


@contextmanager
def naming_columns(name: str | None) -> Iterator[None]:
    """Name the field of the chip's file where a row of its arrays holds no weight.

    Args:
        name: the chip as the user named it; None: there is none, and what is said stays as it is.

    Raises:
        InputError: it holds none.
    """
    try:
        yield
    except NarrowArrayError as error:
        if name is None:
            raise
        raise InputError(f"{name}: hardware/array/columns: {error}") from None
