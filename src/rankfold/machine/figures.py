"""The figures of a described chip: their units, and the range in which they are known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rankfold.errors import InputError, did_you_mean

FAR = 100.0  # times beyond the known range, from which on there is a warning
VALUE, UNIT, SOURCE = "value", "unit", "source"

# What a unit is in the one that is computed with, which stands first.
COUNT = {"": 1.0, "core": 1.0, "array": 1.0}
WRITES = {"write": 1.0}
TIME = {"ns": 1.0, "ps": 1e-3, "us": 1e3, "ms": 1e6}
SIZE = {"B": 1.0, "KiB": 1024.0, "MiB": 1024.0**2, "kB": 1e3, "MB": 1e6}
BIT_RATE = {"bit/ns": 1.0, "Gbit/s": 1.0, "GB/s": 8.0, "Tbit/s": 1e3, "TB/s": 8e3}
RATE = {"operation/ns": 1.0, "GOPS": 1.0, "TOPS": 1e3}
BIT_ENERGY = {"fJ/bit": 1.0, "pJ/bit": 1e3, "pJ/B": 125.0}
ENERGY = {"fJ": 1.0, "pJ": 1e3}
AREA = {"mm2": 1.0, "um2": 1e-6}
POWER = {"uW": 1.0, "mW": 1e3, "nW": 1e-3}


@dataclass(frozen=True)
class Figure:
    """One figure of a description.

    Attributes:
        units: that it may have, in the first of them.
        least: of published chips and macros.
        most: of these.
        whole: whether it is a whole number.
        may_be_zero: whether nothing is a figure.
    """

    units: dict[str, float]
    least: float
    most: float
    whole: bool = False
    may_be_zero: bool = False


# By place in the file. Ranges: the chips of docs/chips.md, SRAM and eDRAM macros and links that these name.
FIGURES = {
    "cores/count": Figure(COUNT, 1, 5_000, whole=True),
    "cores/arrays": Figure(COUNT, 1, 256, whole=True),
    "cores/rate": Figure(RATE, 0.1, 1_000),
    "cores/energy": Figure(ENERGY, 1, 10_000, may_be_zero=True),
    "cores/area": Figure(AREA, 1e-4, 10, may_be_zero=True),
    "cores/leakage": Figure(POWER, 0.01, 1e5, may_be_zero=True),
    "buffer/size": Figure(SIZE, 256, 64 * 1024.0**2, whole=True),
    "buffer/rate": Figure(BIT_RATE, 1, 10_000),
    "buffer/energy": Figure(BIT_ENERGY, 0.5, 1_000, may_be_zero=True),
    "buffer/area": Figure(AREA, 1e-4, 100, may_be_zero=True),
    "buffer/leakage": Figure(POWER, 0.01, 1e5, may_be_zero=True),
    "interconnect/rate": Figure(BIT_RATE, 1, 10_000),
    "interconnect/energy": Figure(BIT_ENERGY, 1, 10_000, may_be_zero=True),
    "interconnect/latency": Figure(TIME, 0.1, 100, may_be_zero=True),
    "interconnect/area": Figure(AREA, 1e-3, 100, may_be_zero=True),
    "memory/rate": Figure(BIT_RATE, 1, 40_000),
    "memory/energy": Figure(BIT_ENERGY, 500, 50_000, may_be_zero=True),
    "cells/write_time": Figure(TIME, 0.5, 1e5, may_be_zero=True),
    "cells/write_energy": Figure(ENERGY, 0.1, 1e5, may_be_zero=True),
    "cells/endurance": Figure(WRITES, 1e3, 1e16),
    "array/read_time": Figure(TIME, 1, 10_000),
    "array/conversion_time": Figure(TIME, 0.1, 1_000),
}


def figure_at(place: str, entry: Any) -> float:
    """The value of a figure in the unit that is computed with.

    Args:
        place: in the file, one of `FIGURES`.
        entry: a number, or an object with value and unit.

    Raises:
        InputError: its unit is none of those that the figure has, or its value is negative, zero or no whole
            number where it must not be.
    """
    figure = FIGURES[place]
    value, factor = entry, 1.0
    if isinstance(entry, dict):
        value = entry[VALUE]
        factor = _factor(place, entry.get(UNIT, next(iter(figure.units))))
    scaled = float(value) * factor
    if not math.isfinite(scaled):
        raise InputError(f"{place} (={value}) must be a finite number")
    if scaled < 0 and figure.may_be_zero:
        raise InputError(f"{place} (={value}) must be at least 0")
    if scaled <= 0 and not figure.may_be_zero:
        raise InputError(f"{place} (={value}) must be above 0")
    if figure.whole:
        # 4.1 MB are whole bytes, whatever the product of two floats is.
        if abs(scaled - round(scaled)) > 1e-6 * scaled:
            raise InputError(f"{place} (={value}) must be a whole number")
        scaled = round(scaled)
    return scaled


def far_off(place: str, value: float) -> str | None:
    """A sentence about a figure that is more than `FAR` times outside of what is known; None: it is not."""
    figure = FIGURES[place]
    if value == 0 or figure.least / FAR <= value <= figure.most * FAR:
        return None
    unit = next(iter(figure.units))
    return (
        f"{place} is {value:g} {unit}".rstrip()
        + f", and known chips have {figure.least:g} to {figure.most:g}; check its unit"
    )


def _factor(place: str, unit: str) -> float:
    units = FIGURES[place].units
    if unit not in units:
        known = [name for name in units if name]
        raise InputError(
            f"{place}: unit (={unit}) must be one of {', '.join(known)}{did_you_mean(unit, known)}"
        )
    return units[unit]
