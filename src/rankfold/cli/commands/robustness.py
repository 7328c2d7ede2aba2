"""`rankfold robustness`: several runs on worse and worse arrays, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from rankfold.cli.arguments.arrays import add_arrays, duration, non_idealities
from rankfold.cli.arguments.options import prepare_process
from rankfold.errors import InputError


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
        "--out", required=True, type=Path, metavar="DIR", help="folder for robustness.csv and robustness.svg"
    )
    parser.add_argument(
        "--vary", action="append", required=True, metavar="NAME=V,V,...",
        help="an option below and its values, such as adc-bits=4,6,8 or program-noise=0.01,0.03; may be repeated",
    )  # fmt: skip
    add_arrays(parser)
    parser.add_argument(
        "--repeats", type=int, default=5, help="chips for each value, each programmed anew (default 5)"
    )
    parser.add_argument("--images", type=int, metavar="N", help="test images, drawn at random (default all)")
    parser.add_argument("--seed", type=int, default=0, help="fixes everything drawn at random (default 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default auto)")
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    parser.set_defaults(run=run, interrupted="the same command goes on where it stopped")


def run(options: argparse.Namespace) -> int:
    """Simulate, draw, and print a table. What an earlier call finished is not done again."""
    from rankfold.cli.words.progress import Steps
    from rankfold.models.pretrained import SHIPPED, shipped
    from rankfold.records.text_table import format_table
    from rankfold.report.charts.robustness import write_robustness_chart
    from rankfold.runs.robustness import Variation, measure_robustness
    from rankfold.runs.simulation import SimulationSettings

    variations = [Variation(*_read(text)) for text in options.vary]
    runs = {
        Path(name).resolve().name: shipped(name).folder if name in SHIPPED else Path(name)
        for name in options.run_folders
    }
    if len(runs) < len(options.run_folders):
        raise InputError("two of the runs have folders of the same name, which is their label; rename one")
    prepare_process(options.threads)
    chosen = non_idealities(options, [variation.name for variation in variations])
    base = SimulationSettings(
        ".", options.data, chosen, options.cell_bits, options.coding, options.dac_bits, options.repeats, options.images, 0,
        seed=options.seed, device=options.device,
    )  # fmt: skip
    points = measure_robustness(runs, variations, base, options.out, Steps())
    write_robustness_chart(options.out / "robustness.svg", points)
    rows = [
        [p.run, p.varied.replace("_", "-"), f"{p.value:g}", f"{p.ideal:.2%}", f"{p.mean:.2%}",
         "-" if p.deviation is None else f"{p.deviation:.2%}", str(p.chips)]
        for p in points
    ]  # fmt: skip
    print(
        format_table(
            ["run", "varied", "value", "quantised", "on arrays", "deviation", "chips"], rows, "<<>>>>>"
        )
    )
    print(f"saved: {options.out / 'robustness.csv'}, {options.out / 'robustness.svg'}")
    return 0


def _read(text: str) -> tuple[str, tuple[float, ...]]:
    name, equals, values = text.partition("=")
    name = name.replace("-", "_")
    try:
        found = (
            tuple(duration(value) if name == "drift" else float(value) for value in values.split(","))
            if values
            else ()
        )
    except ValueError:
        found = ()
    if not equals or not found:
        raise InputError(f"--vary (={text}) must be an option and its values, such as adc-bits=4,6,8")
    return name, found
