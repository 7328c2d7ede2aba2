"""`rankfold robustness`: several runs on worse and worse arrays, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rankfold.cli.arguments.arrays import add_array, add_chips, add_non_idealities, simulated_hardware
from rankfold.cli.arguments.models import add_trust
from rankfold.cli.arguments.process import add_device, add_seed, prepare_process
from rankfold.cli.arguments.values import age
from rankfold.errors import InputError, did_you_mean
from rankfold.records.text_table import format_table

if TYPE_CHECKING:
    from rankfold.runs.robustness import Point


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "run_folders",
        nargs="+",
        metavar="DIR",
        help="folder of a finished, quantised run, or shipped weights",
    )
    parser.add_argument(
        "--data", required=True, metavar="DATA", help="data set with a training and a test split"
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder for robustness.csv and robustness.svg",
    )
    parser.add_argument(
        "--vary",
        action="append",
        required=True,
        metavar="NAME=V,V,...",
        help="an option below and its values, such as adc-bits=4,6,8 or program-noise=0.01,0.03; may be "
        "repeated",
    )
    add_trust(parser)
    add_array(parser)
    add_non_idealities(parser)
    add_chips(parser, "chips for each value, each programmed anew (default 5)")
    parser.add_argument("--images", type=int, metavar="N", help="test images, drawn at random (default all)")
    add_seed(parser)
    add_device(parser)
    parser.set_defaults(run=run, interrupted="the same command goes on where it stopped")


def run(options: argparse.Namespace) -> int:
    """Simulate, draw, and print a table. What an earlier call finished is not done again."""
    from rankfold.cli.words.progress import Bars
    from rankfold.models.pretrained import run_folder
    from rankfold.report.charts.robustness import write_robustness_chart
    from rankfold.runs.robustness import Variation, measure_robustness
    from rankfold.runs.simulation import SimulationOptions

    variations = [Variation(*varied_values(text)) for text in options.vary]
    runs = {Path(name).resolve().name: run_folder(name) for name in options.run_folders}
    # Points are kept by label: two runs of one label would share their files.
    if len(runs) < len(options.run_folders):
        raise InputError("two of the runs have folders of the same name, which is their label; rename one")
    prepare_process(options.threads)
    wanted = SimulationOptions(
        **simulated_hardware(options, list(runs.values()), [variation.name for variation in variations]),
        repeats=options.chips,
        images=options.images,
        # A sweep is about accuracies; the layers' errors are for `rankfold simulate`.
        layer_images=0,
        seed=options.seed,
    )
    points = measure_robustness(
        runs,
        options.data,
        variations,
        wanted,
        out=options.out,
        device=options.device,
        trust_code=options.trust_code,
        progress=Bars(),
    )
    write_robustness_chart(options.out / "robustness.svg", points)
    print(_table(points))
    print(f"saved: {options.out / 'robustness.csv'}, {options.out / 'robustness.svg'}")
    return 0


def _table(points: Sequence[Point]) -> str:
    from rankfold.cost.energy import note_of

    rows = []
    for point in points:
        spread = "-"
        if point.deviation is not None:
            spread = f"{point.deviation:.2%}"
        varied = point.varied.replace("_", "-")
        note = note_of(point.measured)
        accuracies = [f"{point.ideal:.2%}{note}", f"{point.mean:.2%}{note}", spread]
        rows.append([point.run, varied, f"{point.value:g}", *accuracies, str(point.chips)])
    headers = ["run", "varied", "value", "quantised", "on arrays", "deviation", "chips"]
    return format_table(headers, rows, "<<>>>>>")


def varied_values(text: str) -> tuple[str, tuple[float, ...]]:
    """Read `adc-bits=4,6,8` as the name of an option and its values.

    Raises:
        InputError: it is no such text, or names what does not vary.
    """
    from rankfold.runs.robustness import VARIED

    name, equals, listed = text.partition("=")
    name = name.replace("-", "_")
    # Drift is a time, with a unit.
    read: Callable[[str], float] = float
    if name == "drift":
        read = age
    values: list[float] = []
    expected = f"--vary (={text}) must be an option and its values, such as adc-bits=4,6,8"
    try:
        for value in listed.split(","):
            values.append(read(value))
    # A time that cannot be read says so itself.
    except InputError as error:
        raise InputError(f"{expected}: {error}") from None
    except ValueError:
        # A text that is no list of numbers and an empty list have one complaint.
        values = []
    if not equals or not values:
        raise InputError(expected)
    if name not in VARIED:
        known = [field.replace("_", "-") for field in VARIED]
        meant = did_you_mean(name.replace("_", "-"), known)
        raise InputError(f"--vary (={text}) must name one of {', '.join(known)}{meant}")
    return name, tuple(values)
