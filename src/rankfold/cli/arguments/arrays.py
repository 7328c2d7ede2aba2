"""Arguments that say how the hardware is: its description, and single figures that override it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankfold.cli.arguments.old_names import also_called
from rankfold.cli.arguments.values import adc_range, age, bit_width, checked, flag, noise, width
from rankfold.cost.energy import completed, is_table_file
from rankfold.errors import InputError, RankfoldError, UnwantedArgumentError
from rankfold.machine import DEFAULT_HARDWARE, Hardware, hardware_names, load_hardware
from rankfold.machine.hardware import OF_HARDWARE, OF_NOISE
from rankfold.mapping import CELLS, CODINGS, CONVERSIONS, INPUT_CODINGS, ArraySpec
from rankfold.plan import Plan
from rankfold.plan.uniform import Bits
from rankfold.run_files import PLAN

# Figures whose option says the opposite.
OPTION_OF = {"drift_compensation": "no_drift_compensation"}


class _Described(argparse.Action):
    """Reads a description of hardware, and keeps the name or file that it came from (`hardware_from`)."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        try:
            namespace.hardware = load_hardware(values)
        except RankfoldError as error:
            raise argparse.ArgumentError(self, str(error)) from None
        namespace.hardware_from = values


def read_files(options: argparse.Namespace) -> list[str | Path]:
    """What a command reads and must not write to: network, weights, study, hardware and its technology."""
    named = [getattr(options, name, None) for name in ("model", "hardware_from", "technology")]
    if getattr(options, "hardware", None) is not None:
        named.append(options.hardware.technology)
    # Other names are of networks and descriptions of the package.
    files = [name for name in named if name is not None and Path(name).is_file()]
    # A study may be new, and is written by then.
    always = [getattr(options, name, None) for name in ("checkpoint", "study")]
    return [*files, *(name for name in always if name is not None)]


def add_array(parser: argparse.ArgumentParser) -> None:
    """Add `--hardware` and `--array`; None where they are not given."""
    parser.add_argument(
        "--hardware",
        action=_Described,
        metavar="NAME",
        help=f"what everything runs on: {', '.join(hardware_names())}, or a .yaml file (rankfold hardware); "
        "single options go before its figures, and bits of weights and inputs are 4 where none are given",
    )
    # No default here: where none is given, a plan may have an array of its own.
    parser.add_argument(
        "--array",
        type=checked(ArraySpec.parse),
        metavar="RxC",
        help=f"array, rows x columns (default {DEFAULT_HARDWARE.array})",
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Add bits of weights and inputs, and the cells, DACs and driven rows of real arrays."""
    add_bits(parser, None, "of weights and inputs, 1 to 8 (first and last 8)")
    add_cells(parser)


def add_bits(parser: argparse.ArgumentParser, default: Any, what: str) -> None:
    """Add `--bits`, and `--weight-bits` and `--input-bits` for widths that differ.

    Args:
        parser: what they are added to.
        default: of `--bits`.
        what: the bits are, in words.
    """
    parser.add_argument("--bits", type=checked(bit_width), default=default, metavar="N", help=what)
    for one in ("weight", "input"):
        parser.add_argument(
            f"--{one}-bits",
            type=checked(width),
            metavar="N",
            help=f"of {one}s alone, 1 to 8 (default: --bits)",
        )


def chosen_bits(options: argparse.Namespace, bits: int | None) -> Bits:
    """The bits of weights and inputs that the options ask for.

    Args:
        options: as parsed.
        bits: of both; None: float.

    Raises:
        InputError: only one of the two has bits.
    """
    if options.weight_bits is None and options.input_bits is None:
        return bits
    weights, inputs = options.weight_bits or bits, options.input_bits or bits
    if weights is None:
        raise InputError("--input-bits needs --weight-bits too; or give --bits for both")
    if inputs is None:
        raise InputError("--weight-bits needs --input-bits too; or give --bits for both")
    return weights, inputs


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
        "--adc-bits",
        type=int,
        metavar="N",
        help="resolution of the ADCs, in energy and simulation (default: the table's, and exact sums)",
    )
    group.add_argument(
        "--adc-range",
        type=checked(adc_range),
        metavar="R",
        help="calibrated on training images (default), full, or a number of fully driven, fully on cells",
    )


def _add_faults_of_cells(group: Any) -> None:
    group.add_argument(
        "--program-noise",
        type=checked(noise),
        metavar="S",
        help="deviation of programmed cells, relative to a cell's range, or pcm: phase-change memory as "
        "measured",
    )
    group.add_argument(
        "--read-noise",
        type=checked(noise),
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
    group.add_argument("--stuck", type=float, metavar="P", help="share of cells that cannot be programmed")
    group.add_argument(
        "--stuck-high",
        type=float,
        metavar="P",
        help="share of these that are fully on, not off (default 0.5)",
    )


def _add_faults_of_sums(group: Any) -> None:
    group.add_argument(
        "--ir-drop",
        type=float,
        metavar="X",
        help="line resistance between two cells times a cell's conductance: 1e-4",
    )
    group.add_argument(
        "--output-noise",
        type=float,
        metavar="S",
        help="deviation of each sum, relative to one cell fully on",
    )


def add_chips(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--chips`; `what` is done with them."""
    option = parser.add_argument("--chips", type=int, default=5, metavar="N", help=what)
    also_called(parser, option, "--repeats")


def add_cells(parser: Any, default: str | None = None, of: str = "") -> None:
    """Add cells, DACs, driven rows and what is converted to a parser or a group of arguments.

    Args:
        parser: what they are added to.
        default: what holds where they are not given, in words; None: the default array's.
        of: what they are of, before each description.
    """
    usual = DEFAULT_HARDWARE.array
    for name, choices, words, otherwise in (
        ("--cell-bits", None, "bits a cell stores", "default: a whole weight"),
        ("--coding", CODINGS, "of signed weights", f"default {usual.coding}"),
        ("--dac-bits", None, "input bits driven at once", "default: a whole input"),
        (
            "--input-coding",
            INPUT_CODINGS,
            "slices of signed inputs: differential takes two passes, sign-magnitude drivers of both signs",
            f"default {usual.input_coding}",
        ),
        ("--rows-driven", None, "rows of an array driven at once", "default: all"),
        (
            "--converts",
            CONVERSIONS,
            "what an ADC sees: sums of columns, or differences of two",
            f"default {usual.converts}",
        ),
    ):
        kind: dict[str, Any] = {"type": int, "metavar": "N"}
        if choices is not None:
            kind = {"choices": choices}
        parser.add_argument(name, help=f"{of}{words} ({default or otherwise})", **kind)


def chosen_hardware(options: argparse.Namespace, planned: Plan | None = None) -> Hardware:
    """The hardware that the options ask for, with every single option in the place of its figure.

    Args:
        options: as parsed.
        planned: a plan, whose hardware holds where `--hardware` is not given.

    Raises:
        InputError: a figure is out of range, or does not go with the others.
        MissingDependencyError: the technology needs a package that is not installed.
    """
    return _with(options, given_figures(options), planned)


def kept_with_plan(options: argparse.Namespace, hardware: Hardware, planned: object = None) -> Hardware:
    """What a plan that is written keeps of the hardware.

    All that was named, or that a given plan keeps. Of single options array and cells, technology and ADCs,
    which costs and mappings depend on, and no noise, which one training or search asks for.

    Args:
        options: as parsed.
        hardware: what they ask for.
        planned: the plan that was given, if it was one.
    """
    figures = {name: value for name, value in given_figures(options).items() if name not in OF_NOISE}
    # Without cells energy takes those of the technology, but a simulation would read whole weights.
    if hardware.array.cell_bits is None:
        figures.pop("adc_bits", None)
    own = planned if isinstance(planned, Plan) else None
    return _with(options, figures, own)


def _with(options: argparse.Namespace, figures: dict[str, Any], planned: Plan | None) -> Hardware:
    """The hardware that is named, that of the plan, or the default, with these figures for its own."""
    named: Hardware | None = getattr(options, "hardware", None)
    if named is not None:
        # A described machine has nothing open: cycles, energy and simulation are of the same one.
        return completed(named.altered(**figures))
    if planned is None:
        return DEFAULT_HARDWARE.altered(**figures)
    base = planned.machine
    # Kinds, bits and columns of ADCs are those of a technology.
    if figures.get("technology", base.technology) != base.technology:
        base = base.altered(adc=None, adc_bits=None, mux=None)
    return base.altered(**figures)


def given_figures(options: argparse.Namespace) -> dict[str, Any]:
    """The figures that single options give, as `Hardware.altered` takes them; commands lack some of them."""
    figures: dict[str, Any] = {}
    array = getattr(options, "array", None)
    if array is not None:
        figures = {"rows": array.rows, "columns": array.columns}
    for name in (*CELLS, *OF_HARDWARE, *OF_NOISE):
        # None both where an option is not given and where the command does not have it.
        value = getattr(options, name, None)
        if value is not None:
            figures[name] = value
    # Commands that read the plan may run in another folder.
    if is_table_file(figures.get("technology", "")):
        figures["technology"] = str(Path(figures["technology"]).absolute())
    # The flag says what is left out, the figure what is done.
    if getattr(options, "no_drift_compensation", False):
        figures["drift_compensation"] = False
    return figures


def refuse_noise(options: argparse.Namespace, complaint: str) -> None:
    """Refuse options that describe in what arrays fall short, beside the resolution of their ADCs.

    Raises:
        UnwantedArgumentError: there is one.
    """
    for name in given_figures(options):
        if name in OF_NOISE:
            raise UnwantedArgumentError(complaint, OPTION_OF.get(name, name))


def check_details(options: argparse.Namespace, hardware: Hardware, varied: Sequence[str] = ()) -> None:
    """Refuse options that say more of something than there is.

    Args:
        options: as parsed.
        hardware: with these options.
        varied: figures that get their values later.

    Raises:
        InputError: an option says more of what another one does not ask for.
    """
    # A detail of what is not there would be dropped without a word.
    figures = given_figures(options)
    for detail, of in (("adc_range", "adc_bits"), ("stuck_high", "stuck"), ("drift_compensation", "drift")):
        # What varies has no value yet, and counts as given.
        if detail in figures and not hardware.figure(of) and of not in varied:
            name = OPTION_OF.get(detail, detail)
            raise UnwantedArgumentError(
                f"{flag(name)} says nothing without {flag(of)}; add that, or omit {flag(name)}", name
            )


def simulated_hardware(
    options: argparse.Namespace, folders: Sequence[Path], varied: Sequence[str] = ()
) -> dict[str, Any]:
    """What `SimulationOptions` take of hardware: that which is named, or single figures of the plans'.

    Args:
        options: as parsed.
        folders: of the runs; what is no such folder is refused where it is read.
        varied: figures that get their values later.

    Raises:
        InputError: as `chosen_hardware` and `check_details`, or a run's plan is none.
    """
    made = chosen_hardware(options)
    if options.hardware is not None:
        check_details(options, made, varied)
        return {"hardware": made}
    # Each plan has hardware of its own, which takes these figures.
    for file in (folder / PLAN for folder in folders):
        if file.is_file():
            check_details(options, chosen_hardware(options, Plan.load(file)), varied)
    return {"changes": given_figures(options)}
