"""How values on the command line are read."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from rankfold.errors import InputError, RankfoldError, UnwantedArgumentError
from rankfold.machine.description import seconds
from rankfold.workload.shape import is_count

T = TypeVar("T")
MOST_SIZES = 5  # of an input without its batch


def given(options: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """Those of some options that the user gave; a 0 was given, and what the command does not have was not.

    Args:
        options: as parsed.
        names: of their fields.
    """
    values = {name: getattr(options, name, None) for name in names}
    # By identity: 0 equals False.
    return [name for name, value in values.items() if value not in (None, ()) and value is not False]


def flag(name: str) -> str:
    """How the user gives an option, by the name of its field."""
    if name == "rules":
        return "--include and --exclude"
    if name == "factory":
        return "--model"
    return f"--{name.replace('_', '-')}"


def refuse_given(options: argparse.Namespace, names: Iterable[str], complaint: str) -> None:
    """Refuse options that say nothing here.

    Args:
        options: as parsed.
        names: of their fields; what the command does not have was not given.
        complaint: with `{flag}` for how the option is typed.

    Raises:
        UnwantedArgumentError: one of them is given.
    """
    for name in given(options, names):
        # Not `format`: names of the user's files in a complaint may have braces.
        raise UnwantedArgumentError(complaint.replace("{flag}", flag(name)), name)


def checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Wrap a library parser for argparse, which shows only its own kind of error in full."""

    def convert(text: str) -> T:
        try:
            return parse(text)
        # Of other errors it shows "invalid value" and drops the sentence.
        except RankfoldError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def input_sizes(text: str) -> tuple[int, ...]:
    """Read `3x32x32` as (C, H, W), and other sizes of an input without its batch, such as `16000`.

    Raises:
        InputError: not positive whole numbers, or more than five.
    """
    parts = _sizes(text, min(text.lower().count("x"), MOST_SIZES - 1) + 1)
    if parts is None:
        raise InputError(
            f"input (={text}) must be channels x height x width, such as 3x32x32, or as many sizes as an "
            "input has without its batch"
        )
    return parts


def image_size(text: str) -> tuple[int, int]:
    """Read `32x32` as (H, W).

    Raises:
        InputError: not two positive whole numbers.
    """
    parts = _sizes(text, 2)
    if parts is None:
        raise InputError(f"image size (={text}) must be height x width, such as 32x32")
    height, width = parts
    return height, width


def _sizes(text: str, count: int) -> tuple[int, ...] | None:
    """So many positive whole numbers with an x between them, or None."""
    parts = text.lower().split("x")
    if len(parts) != count or not all(is_count(part) for part in parts):
        return None
    sizes = tuple(int(part) for part in parts)
    # `is_count` lets 0 pass.
    if min(sizes) < 1:
        return None
    return sizes


def array_count(text: str) -> int:
    """Read a number of arrays.

    Raises:
        InputError: not a positive whole number.
    """
    if not is_count(text):
        raise InputError(f"arrays (={text}) must be a whole number of 1 or more")
    return int(text)


def bit_width(text: str) -> int | None:
    """Read `4` as 4 bits and `float` as None.

    Raises:
        InputError: neither 1 to 8 nor `float`.
    """
    if text == "float":
        return None
    # `isdigit` is true of other scripts' digits too.
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 8:
        return int(text)
    raise InputError(f"bits (={text}) must be a whole number from 1 to 8, or be `float`")


def width(text: str) -> int:
    """Read `4` as 4 bits.

    Raises:
        InputError: not 1 to 8.
    """
    bits = bit_width(text)
    if bits is None:
        raise InputError("bits (=float) are those of weights and inputs alike: give --bits float alone")
    return bits


def share(text: str) -> float:
    """Read the weight of distillation.

    Raises:
        InputError: no number from 0 to 1.
    """
    try:
        weight = float(text)
    except ValueError:
        # Out of range, so that both mistakes have one complaint.
        weight = -1.0
    if not 0 <= weight <= 1:
        raise InputError(f"weight (={text}) must be a share from 0 to 1, such as 0.9")
    return weight


def noise(text: str) -> float | str:
    """Read a deviation, or `pcm`.

    Raises:
        InputError: neither.
    """
    if text == "pcm":
        return text
    return _number(text, "noise", "a number such as 0.03, or `pcm`")


def adc_range(text: str) -> float | str:
    """Read `calibrated`, `full`, or a number of cells.

    Raises:
        InputError: none of them.
    """
    if text in ("calibrated", "full"):
        return text
    return _number(text, "ADC range", "calibrated, full, or a number such as 16")


def age(text: str) -> float:
    """Read `90s`, `5m`, `1h`, `2d` or `1y` as seconds.

    Raises:
        InputError: anything else.
    """
    return seconds(text)


def time_limit(text: str) -> float:
    """Read `1h30m`, `90m`, `45s` or `0` as seconds.

    Raises:
        InputError: anything else.
    """
    given = text.strip().lower()
    # A number without a letter counts seconds, where it stands alone: 1h30 may be meant for minutes.
    if re.fullmatch(r"\d{1,6}", given):
        return float(given)
    match = re.fullmatch(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", given)
    # The pattern takes an empty text too, of which every part is missing.
    if not given or match is None:
        raise InputError(f"time (={text}) must be hours, minutes and seconds such as 2h, 1h30m or 45s, or 0")
    hours, minutes, seconds_left = (int(part or 0) for part in match.groups())
    return 3600.0 * hours + 60.0 * minutes + seconds_left


def _number(text: str, what: str, rule: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{what} (={text}) must be {rule}") from None
