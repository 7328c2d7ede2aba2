"""Why a trained network reads little on arrays: its converters, its inputs' signs, layer by layer.

Claim: of a text recogniser at 8 bits nothing is lost to 6-bit converters but what two choices of the arrays
lose: to convert sums of whole 8-bit inputs and weights, and to drive signed inputs in two's complement, where
a small negative number switches all the high bits on.

    python benchmarks/converter_errors.py [--network recogniser] [--plan FILE] [--images 32] [--test 4]
        [--out results/unlabelled/converters]

The network (see `detectors.py`) is made for drawn lines and quantised, not trained, then simulated with
converters of several bits: `whole` inputs in whole cells; inputs `bit by bit` into cells of 2 bits, signed
ones in two's complement; `by magnitude`, as one bit after another of the magnitude, driven with the sign; and
`in two passes`, first the bits of positive inputs and then those of negative ones (`ArraySpec.input_coding`).
Writes OUT-costs.csv, what each way takes for a line of text, priced by `rram-22nm` where the signs of all
inputs are known; OUT.csv, what is read of the test lines; and OUT-layers.csv: of each layer, on its own
inputs without errors before it, the error of its sums beside their deviation.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectors import ARRAY, NETWORKS, TECHNOLOGY, TEST_SEED, outputs_of
from measured_rows import Rows, commit
from torch import Tensor, nn

import rankfold as rf
from rankfold.runs.record import device_name
from rankfold.simulator.layer import SimulatedLayer
from rankfold.simulator.network import simulated_layers

SLICED = replace(ARRAY, cell_bits=2, dac_bits=1)
PLAN = Path("results/unlabelled/detector-plans/recogniser-0.75-8-trimmed-unsoftened.json")
WHOLE, BITS, MAGNITUDE, PASSES = "whole", "bit by bit", "by magnitude", "in two passes"
ARRAYS = {
    WHOLE: ARRAY,
    BITS: SLICED,
    MAGNITUDE: replace(SLICED, input_coding="sign-magnitude"),
    PASSES: replace(SLICED, input_coding="differential"),
}
LAYERS_BITS, LAYERS_IMAGES, CALIBRATED_IMAGES, AT_ONCE = 6, 2, 8, 16
SETTINGS = {WHOLE: (6, 7, 8, 10), BITS: (4, 5, 6, 7), MAGNITUDE: (4, 5, 6, 7), PASSES: (4, 5, 6, 7)}
HEADER = ("inputs", "adc_bits", "lines", "quantised", "on_arrays", "output_error", "commit", "device")
OF_COSTS = ("inputs", "adc_bits", "array_activations", "conversions", "energy_nj", "latency_us", "commit")
OF_LAYERS = ("layer", "inputs", "weight", "rows", "signed", "negative_inputs", "error", "commit", "device")


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    study = Study(options)
    costs = Rows(options.out.with_name(f"{options.out.name}-costs.csv"), OF_COSTS, 1)
    for inputs in (BITS, MAGNITUDE, PASSES):
        if [inputs] not in costs:
            costs.add([inputs, *study.costs(inputs)])
    lines = Rows(options.out.with_suffix(".csv"), HEADER, 3)
    for inputs, widths in SETTINGS.items():
        for bits in widths:
            key = [inputs, bits, options.test]
            if key not in lines:
                lines.add([*key, *study.read(inputs, bits)])
                print(lines.rows[-1], flush=True)
    layers = Rows(options.out.with_name(f"{options.out.name}-layers.csv"), OF_LAYERS, 2)
    for inputs in SETTINGS:
        if inputs not in layers.column("inputs"):
            for row in study.layers(inputs):
                layers.add(row)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=NETWORKS, default="recogniser")
    parser.add_argument("--plan", type=Path, default=PLAN, help="of 8 bits, for 128x128 arrays")
    parser.add_argument("--images", type=int, default=32, help="that weights are made for")
    parser.add_argument("--test", type=int, default=4, help="images that are read on arrays")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/unlabelled/converters"))
    return parser.parse_args()


class Study:
    """A network made for drawn images and quantised, and what it is measured on.

    Args:
        options: of the command.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.of = NETWORKS[options.network]
        dense = rf.load_model(str(self.of.path), image=self.of.image)
        inputs, _ = self.of.drawn(0, options.images)
        batches = torch.split(torch.from_numpy(inputs), AT_ONCE)
        self.model = copy.deepcopy(dense)
        plan = rf.Plan.load(options.plan)
        rf.compress_(self.model, plan, batches, outputs=self.of.outputs)
        self.plan = rf.quantise_(self.model, plan, batches, reference=dense)
        self.network = rf.trace(dense, self.of.image, options.network)
        self.calibration = [torch.from_numpy(inputs[:CALIBRATED_IMAGES])]
        self.test, self.wanted = self.of.drawn(TEST_SEED, options.test)
        self.given = outputs_of(self.model, self.test)

    def read(self, inputs: str, bits: int) -> list[Any]:
        """The cells of a row behind its key: what is read with converters of so many bits."""
        given = outputs_of(self.arrays(inputs, bits), self.test)
        error = np.linalg.norm(given - self.given) / np.linalg.norm(self.given)
        scores = [f"{self.of.score(one, self.wanted):.4f}" for one in (self.given, given)]
        return [*scores, f"{error:.4f}", commit(), device_name(torch.device("cpu"))]

    def costs(self, inputs: str) -> list[Any]:
        """The cells of a row of costs behind its key: energy and time of one image."""
        hardware = rf.hardware(TECHNOLOGY).with_array(ARRAYS[inputs]).altered(adc_bits=LAYERS_BITS)
        spent = rf.energy(self.network, self.plan, hardware)
        counted = [LAYERS_BITS, spent.reads, spent.conversions]
        return [*counted, f"{1e-3 * spent.energy:.5g}", f"{spent.latency:.5g}", commit()]

    def arrays(self, inputs: str, bits: int) -> nn.Module:
        """The network on arrays whose inputs are driven so."""
        plan = self.plan.on(ARRAYS[inputs])
        return rf.simulate(self.model, plan, rf.NonIdealities(adc_bits=bits), calibration=self.calibration)

    def layers(self, inputs: str) -> list[list[Any]]:
        """A row for each layer, the worst first."""
        found: list[LayerError] = []
        arrays = self.arrays(inputs, LAYERS_BITS)
        for layer in simulated_layers(arrays):
            layer.ideal = True  # what it hands on has no errors

            def look(module: nn.Module, given: tuple[Tensor], _: Tensor) -> None:
                assert isinstance(module, SimulatedLayer)
                found.append(LayerError.of(module, given[0]))

            layer.register_forward_hook(look)
        outputs_of(arrays, self.test[:LAYERS_IMAGES])
        found.sort(key=lambda one: -one.error)
        return [one.row(inputs) for one in found]


@dataclass(frozen=True)
class LayerError:
    """What the converters of one layer alone do to its sums.

    Attributes:
        name: of the layer.
        weight: its shape.
        rows: of its fullest tile.
        signed: whether its inputs have a sign.
        negative: the share of inputs that are below 0.
        error: root mean square over the standard deviation of each output channel, of all channels.
    """

    name: str
    weight: tuple[int, ...]
    rows: int
    signed: bool
    negative: float
    error: float

    @classmethod
    def of(cls, layer: SimulatedLayer, given: Tensor) -> LayerError:
        """Of a layer that is ideal now, with its inputs."""
        exact = layer.accumulators(given).double()
        layer.ideal = False
        read = layer.accumulators(given).double()
        layer.ideal = True
        others = [dim for dim in range(exact.ndim) if dim != 1]
        missed = (read - exact).square().mean(others).sum() / exact.var(others, correction=0).sum()
        rows = max(arrays.schedule.rows for arrays in layer.arrays.values())
        signed = layer.layer.input_quantiser.signed
        negative = float((layer.layer.input_quantiser.levels(given) < 0).double().mean())
        return cls(layer.name, tuple(layer.layer.weight.shape), rows, signed, negative, float(missed.sqrt()))

    def row(self, inputs: str) -> list[Any]:
        """That of the table."""
        weight = "x".join(map(str, self.weight))
        values = [self.rows, int(self.signed), f"{self.negative:.3f}", f"{self.error:.4f}"]
        return [self.name, inputs, weight, *values, commit(), device_name(torch.device("cpu"))]


if __name__ == "__main__":
    main()
