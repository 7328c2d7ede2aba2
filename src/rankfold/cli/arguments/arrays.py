"""Arguments that say how arrays are: their size, cells, DACs and ADCs, noise and defects."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rankfold.cli.arguments.values import adc_range, age, bit_width, checked, noise
from rankfold.errors import InputError
from rankfold.machine import DEFAULT_HARDWARE, NonIdealities
from rankfold.mapping import CELLS, CODINGS, ArraySpec


def add_array(parser: argparse.ArgumentParser) -> None:
    """Add `--array`; None where it is not given."""
    # No default here: where none is given, a plan may have an array of its own.
    parser.add_argument(
        "--array",
        type=checked(ArraySpec.parse),
        metavar="RxC",
        help=f"array, rows x columns (default {DEFAULT_HARDWARE.array})",
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Add `--bits`, and `--cell-bits`, `--coding` and `--dac-bits` of real arrays."""
    parser.add_argument(
        "--bits",
        type=checked(bit_width),
        default=None,
        help="of weights and inputs, 1 to 8 (first and last 8)",
    )
    parser.add_argument(
        "--cell-bits", type=int, metavar="N", help="bits a cell stores (default: a whole weight)"
    )
    parser.add_argument("--coding", choices=CODINGS, help=f"of signed weights (default {CODINGS[0]})")
    parser.add_argument(
        "--dac-bits", type=int, metavar="N", help="input bits driven at once (default: a whole input)"
    )
    parser.add_argument(
        "--rows-driven", type=int, metavar="N", help="rows of an array driven at once (default: all)"
    )


def add_non_idealities(parser: argparse.ArgumentParser) -> None:
    """Add cells and everything in which arrays fall short; where not given, ideal or as the plan says."""
    # A group of its own in the help: these are many, and few calls need any.
    group = parser.add_argument_group("arrays", "whatever is not given is ideal, or as the plan says")
    add_cells(group, "default: as in the plan")
    _add_converters(group)
    _add_faults_of_cells(group)
    _add_faults_of_sums(group)


def _add_converters(group: Any) -> None:
    group.add_argument(
        "--adc-bits", type=int, metavar="N", help="resolution of the converters (default: exact sums)"
    )
    group.add_argument(
        "--adc-range",
        type=checked(adc_range),
        default="calibrated",
        metavar="R",
        help="calibrated on training images (default), full, or a number of fully driven, fully on cells",
    )


def _add_faults_of_cells(group: Any) -> None:
    group.add_argument(
        "--program-noise",
        type=checked(noise),
        default=0.0,
        metavar="S",
        help="deviation of programmed cells, relative to a cell's range, or pcm: phase-change memory as "
        "measured",
    )
    group.add_argument(
        "--read-noise",
        type=checked(noise),
        default=0.0,
        metavar="S",
        help="deviation of cells at each read, or pcm",
    )
    group.add_argument(
        "--drift",
        type=checked(age),
        metavar="T",
        help="time from programming to reading, such as 30s, 1h or 1d, as in pcm",
    )
    group.add_argument(
        "--no-drift-compensation", action="store_true", help="leave the mean drift of each layer as it is"
    )
    group.add_argument(
        "--stuck", type=float, default=0.0, metavar="P", help="share of cells that cannot be programmed"
    )
    group.add_argument(
        "--stuck-high",
        type=float,
        default=0.5,
        metavar="P",
        help="share of these that are fully on, not off (default 0.5)",
    )


def _add_faults_of_sums(group: Any) -> None:
    group.add_argument(
        "--ir-drop",
        type=float,
        default=0.0,
        metavar="X",
        help="line resistance between two cells times a cell's conductance: 1e-4",
    )
    group.add_argument(
        "--output-noise",
        type=float,
        default=0.0,
        metavar="S",
        help="deviation of each sum, relative to one cell fully on",
    )


def add_cells(parser: Any, default: str, of: str = "") -> None:
    """Add `--cell-bits`, `--coding` and `--dac-bits` to a parser or a group of arguments.

    Args:
        parser: what they are added to.
        default: what holds where they are not given, in words.
        of: what they are of, before each description.
    """
    parser.add_argument("--cell-bits", type=int, metavar="N", help=f"{of}bits a cell stores ({default})")
    parser.add_argument("--coding", choices=CODINGS, help=f"{of}of signed weights ({default})")
    parser.add_argument(
        "--dac-bits", type=int, metavar="N", help=f"{of}input bits driven at once ({default})"
    )
    parser.add_argument(
        "--rows-driven", type=int, metavar="N", help=f"{of}rows of an array driven at once ({default})"
    )


def chosen_array(options: argparse.Namespace, otherwise: ArraySpec | None = None) -> ArraySpec:
    """The array that the options ask for, with the cells and DACs that they give it.

    Args:
        options: as parsed.
        otherwise: the array where no size is given, such as a plan's; None: the default.
    """
    # The size may come from a plan and the cells from the user: each option changes one thing.
    return with_cells(options.array or otherwise or DEFAULT_HARDWARE.array, options)


def with_cells(array: ArraySpec, options: argparse.Namespace) -> ArraySpec:
    """The array, with those cells and DACs that the options give it."""
    return replace(array, **given_cells(options))


def given_cells(options: argparse.Namespace) -> dict[str, Any]:
    """The cells and DACs that the options give, by the names of `ArraySpec`; commands without them give
    none.
    """
    cells: dict[str, Any] = {}
    for name in CELLS:
        # None both where an option is not given and where the command does not have it.
        value = getattr(options, name, None)
        if value is not None:
            cells[name] = value
    return cells


def non_idealities(options: argparse.Namespace, varied: Sequence[str] = ()) -> NonIdealities:
    """What the options describe.

    Args:
        options: as parsed.
        varied: fields that get their values later.

    Raises:
        InputError: a value is out of range, or an option says more of what another one does not ask for.
    """

    # A detail of what is not there would be dropped without a word.
    for detail, given, flag, field in (
        ("--adc-range", options.adc_range != "calibrated", "--adc-bits", "adc_bits"),
        ("--stuck-high", options.stuck_high != 0.5, "--stuck", "stuck"),
        ("--no-drift-compensation", options.no_drift_compensation, "--drift", "drift"),
    ):
        # What varies has no value yet, and counts as given.
        if given and not getattr(options, field) and field not in varied:
            raise InputError(f"{detail} says nothing without {flag}; add that, or omit {detail}")
    return NonIdealities(
        adc_bits=options.adc_bits,
        adc_range=options.adc_range,
        program_noise=options.program_noise,
        read_noise=options.read_noise,
        drift=options.drift,
        # The flag says what is left out, the field what is done.
        drift_compensation=not options.no_drift_compensation,
        stuck=options.stuck,
        stuck_high=options.stuck_high,
        ir_drop=options.ir_drop,
        output_noise=options.output_noise,
    )
