"""Arguments that say how real arrays are: their cells, DACs and ADCs, noise and defects."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rankfold.cli.arguments.options import checked
from rankfold.errors import InputError
from rankfold.mapping import CODINGS, ArraySpec

if TYPE_CHECKING:
    from rankfold.simulator import ArrayNonIdealities

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "y": 365.25 * 86400}


def add_arrays(parser: argparse.ArgumentParser) -> None:
    """Add the options; each of them defaults to what is ideal, or to what the plan says."""
    group = parser.add_argument_group("arrays", "whatever is not given is ideal, or as the plan says")
    group.add_argument("--cell-bits", type=int, metavar="N", help="bits a cell stores (default: as in the plan)")
    group.add_argument("--coding", choices=CODINGS, help="of signed weights (default: as in the plan)")
    group.add_argument("--dac-bits", type=int, metavar="N", help="input bits driven at once (default: as in the plan)")
    group.add_argument("--adc-bits", type=int, metavar="N", help="resolution of the converters (default: exact sums)")
    group.add_argument(
        "--adc-range", type=checked(adc_range), default="calibrated", metavar="R",
        help="calibrated on training images (default), full, or a number of fully driven, fully on cells",
    )  # fmt: skip
    group.add_argument(
        "--program-noise", type=checked(noise), default=0.0, metavar="S",
        help="deviation of programmed cells, relative to a cell's range, or pcm: phase-change memory as measured",
    )  # fmt: skip
    group.add_argument(
        "--read-noise", type=checked(noise), default=0.0, metavar="S", help="deviation of cells at each read, or pcm"
    )
    group.add_argument(
        "--drift", type=checked(duration), metavar="T", help="time from programming to reading, such as 30s, 1h or 1d, as in pcm"
    )
    group.add_argument("--no-drift-compensation", action="store_true", help="leave the mean drift of each layer as it is")
    group.add_argument("--stuck", type=float, default=0.0, metavar="P", help="share of cells that cannot be programmed")
    group.add_argument(
        "--stuck-high", type=float, default=0.5, metavar="P", help="share of these that are fully on, not off (default 0.5)"
    )
    group.add_argument(
        "--ir-drop",
        type=float,
        default=0.0,
        metavar="X",
        help="line resistance between two cells times a cell's conductance: 1e-4",
    )
    group.add_argument(
        "--output-noise", type=float, default=0.0, metavar="S", help="deviation of each sum, relative to one cell fully on"
    )


def non_idealities(options: argparse.Namespace, varied: Sequence[str] = ()) -> ArrayNonIdealities:
    """What the options describe.

    Args:
        options: as parsed.
        varied: fields that get their values later.

    Raises:
        InputError: a value is out of range, or an option says more of what another one does not ask for.
    """
    from rankfold.simulator import ArrayNonIdealities

    for detail, given, flag, field in (
        ("--adc-range", options.adc_range != "calibrated", "--adc-bits", "adc_bits"),
        ("--stuck-high", options.stuck_high != 0.5, "--stuck", "stuck"),
        ("--no-drift-compensation", options.no_drift_compensation, "--drift", "drift"),
    ):
        if given and not getattr(options, field) and field not in varied:
            raise InputError(f"{detail} says nothing without {flag}; add that, or leave {detail} away")
    return ArrayNonIdealities(
        adc_bits=options.adc_bits, adc_range=options.adc_range, program_noise=options.program_noise,
        read_noise=options.read_noise, drift=options.drift, drift_compensation=not options.no_drift_compensation,
        stuck=options.stuck, stuck_high=options.stuck_high, ir_drop=options.ir_drop, output_noise=options.output_noise,
    )  # fmt: skip


def with_cells(array: ArraySpec, options: argparse.Namespace) -> ArraySpec:
    """The array, with those cells and DACs that the options give it."""
    given = {name: getattr(options, name) for name in ("cell_bits", "coding", "dac_bits") if getattr(options, name) is not None}
    return replace(array, **given)


def noise(text: str) -> float | str:
    """Read a deviation, or `pcm`.

    Raises:
        InputError: neither.
    """
    return "pcm" if text == "pcm" else _number(text, "noise", "a number such as 0.03, or `pcm`")


def adc_range(text: str) -> float | str:
    """Read `calibrated`, `full`, or a number of cells.

    Raises:
        InputError: none of them.
    """
    return text if text in ("calibrated", "full") else _number(text, "ADC range", "calibrated, full, or a number such as 16")


def duration(text: str) -> float:
    """Read `90s`, `5m`, `1h`, `2d` or `1y` as seconds.

    Raises:
        InputError: anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdy])", text)
    if found is None:
        raise InputError(f"drift (={text}) must be a time such as 30s, 1h or 1d")
    return float(found[1]) * UNITS[found[2]]


def _number(text: str, what: str, rule: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{what} (={text}) must be {rule}") from None
