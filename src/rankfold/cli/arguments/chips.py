"""The chips that users name on the command line."""

from __future__ import annotations

from rankfold.cost.energy import completed
from rankfold.errors import InputError
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
