"""Window networks on real arrays beside tied and dense ones: ADC bits, programming noise, energy.

Usage: python benchmarks/window_robustness.py RUN ... --data path/to/cifar10 [--threads 1] [--images 500]
    [--chips 3] [--settings "support, e = 4" ...] [--labels ...] [--work runs/window-robustness]
    [--out results/windows] [--picture FILE]

RUN is the folder of a finished 4-bit run of `rankfold compress`, or the name of shipped weights. `--settings`
adds networks that were not trained, of 4 bits on 64x64 arrays, as windows.py makes them. All lie on arrays of
their plan's size with the cells that energy is counted for: 2-bit cells, differential coding, differences
converted, one-bit DACs; weights of 4 bits take four columns. Test images, ADC ranges (256 training images)
and chips are drawn under seed 0; noise is simulated with ideal converters, `--chips` chips a value. Each
simulation is kept in `--work`, and the same command goes on where it stopped. Writes
  robustness.csv       accuracy of every network for every value
  array_energy.csv     for every network: cycles, array cycles (with 1-bit slices), energy at 5 ADC bits and
                       the share of it that conversions take, arrays, share of cells that hold a weight, mean
                       range of the calibrated converters in fully driven and fully on cells, the fewest bits
                       of those simulated that lose at most half a point, and energy with these
  the picture          of the first table, with `--labels` for the networks, in their order
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from measured_rows import commit
from shipped_network import shipped_resnet20
from window_settings import BY_STAGE_NAME, UNIFORM, plan_of

from rankfold import ArraySpec, compress_, cycles, load_images, load_model, quantise_, save, trace
from rankfold.cli.arguments.process import prepare_process
from rankfold.cost.energy import NetworkEnergy, load_table, network_energy
from rankfold.machine import NonIdealities
from rankfold.models.pretrained import run_folder
from rankfold.progress import Silent
from rankfold.records.csv_table import write_csv
from rankfold.report.charts.robustness import write_robustness_chart
from rankfold.runs.chips import Chips, LoadedRun
from rankfold.runs.robustness import Point, Variation, measure_robustness, write_points
from rankfold.runs.simulation import SimulationOptions
from rankfold.simulator import simulate, simulated_layers
from rankfold.workload import Network

CELLS = {"cell_bits": 2, "coding": "differential", "converts": "differences", "dac_bits": 1}
TABLE, ADC_BITS = "rram-22nm", 5
VARIATIONS = (
    Variation("adc_bits", (4.0, 5.0, 6.0, 7.0, 8.0)),
    Variation("program_noise", (0.002, 0.005, 0.01, 0.02, 0.05)),
)
HALF_A_POINT = 0.005
HEADER = (
    "run",
    "array",
    "cycles",
    "array_cycles",
    "energy_nj",
    "conversion_share",
    "arrays",
    "cells_used",
    "converter_range",
    "bits_half_point",
    "energy_at_bits_nj",
    "commit",
)


def fewest_bits(points: Sequence[Point]) -> int | None:
    """The fewest ADC bits that lose at most half a point, with all higher ones; None: more are needed."""
    fewest = None
    for point in sorted(points, key=lambda point: -point.value):
        if point.varied == "adc_bits":
            if point.mean < point.ideal - HALF_A_POINT - 1e-9:
                break
            fewest = int(point.value)
    return fewest


def converter_range(loaded: LoadedRun) -> float:
    """Mean over layers of what calibrated converters of 5 bits reach, in fully driven and fully on cells."""
    machine = loaded.plan.machine.altered(**CELLS)
    network = simulate(loaded.model, loaded.plan.on(machine), NonIdealities(adc_bits=ADC_BITS))
    Chips(loaded, network, 0, Silent()).program()
    reached = []
    for layer in simulated_layers(network):
        for size, arrays in layer.arrays.items():
            converter = layer.converter(size)
            assert converter is not None
            reached.append(converter.high * converter.step / arrays.sums.one_cell)
    return fmean(reached)


def energy_row(loaded: LoadedRun, network: Network, bits: int | None) -> list[object]:
    """The figures of `array_energy.csv`, from the array on."""
    machine = loaded.plan.machine.altered(**CELLS)
    plan = loaded.plan.on(machine)
    counted = cycles(network, plan)
    priced = network_energy(network, plan, load_table(TABLE).with_adc(bits=ADC_BITS))
    at_bits: NetworkEnergy | None = None
    if bits is not None:
        at_bits = priced.with_table(priced.table.with_adc(bits=bits))
    return [
        f"{plan.array.rows}x{plan.array.columns}",
        cycles(network, loaded.plan).chosen_cycles,
        counted.array_cycles,
        f"{priced.energy / 1e3:.0f}",
        f"{priced.components['adc'] / priced.energy:.3f}",
        priced.arrays,
        f"{priced.utilisation:.3f}",
        f"{converter_range(loaded):.2f}",
        bits or "above 8",
        "" if at_bits is None else f"{at_bits.energy / 1e3:.0f}",
    ]


def untrained(setting: str, data: str, folder: Path) -> Path:
    """The folder of the shipped network under a setting, made on images; it is made once."""
    if not folder.exists():
        images = load_images(data)
        model = shipped_resnet20()
        plan = plan_of(setting, trace(model, images.input_size, "resnet20"), ArraySpec(64, 64))
        compress_(model, plan, images)
        save(model, quantise_(model, plan, images), folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--data", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--chips", type=int, default=3)
    parser.add_argument("--settings", nargs="*", choices=(BY_STAGE_NAME, *UNIFORM), default=())
    parser.add_argument("--labels", nargs="*", default=[], help="of the networks, in the picture")
    parser.add_argument("--work", type=Path, default=Path("runs/window-robustness"))
    parser.add_argument("--out", type=Path, default=Path("results/windows"))
    parser.add_argument("--picture", type=Path, default=Path("docs/images/window-robustness.svg"))
    options = parser.parse_args()
    prepare_process(options.threads)
    wanted = SimulationOptions(changes=CELLS, repeats=options.chips, images=options.images, layer_images=0)
    folders = {Path(run_folder(name)).name: Path(run_folder(name)) for name in options.runs}
    for setting in options.settings:
        # A name of files, too.
        name = f"{setting}, untrained".replace("/", " by ")
        folders[name] = untrained(setting, options.data, options.work / name)
    points: list[Point] = []
    rows: list[list[object]] = []
    for name, folder in folders.items():
        one = {name: folder}
        points += measure_robustness(one, options.data, VARIATIONS, wanted, out=options.work, device="cpu")
        loaded = LoadedRun.load(folder, options.data, "cpu")
        network = trace(load_model("resnet20", 10), loaded.data.input_size, "resnet20")
        bits = fewest_bits([point for point in points if point.run == name])
        rows.append([name, *energy_row(loaded, network, bits), commit()])
        # After each network: a sweep may be stopped, and be looked at.
        write_points(options.out / "robustness.csv", points)
        write_csv(options.out / "array_energy.csv", HEADER, rows)
        labels = dict(zip(folders, options.labels, strict=False))
        drawn = [replace(point, run=labels.get(point.run, point.run)) for point in points]
        write_robustness_chart(options.picture, drawn)
        print(rows[-1], flush=True)


if __name__ == "__main__":
    main()
