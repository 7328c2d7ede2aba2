"""Speed and memory of the array simulator, beside the plain network and aihwkit-lightning, in one run.

    python benchmarks/simulator.py --data ../shared/data/cifar10 --threads 2

ResNet-20 at 4 bits (the shipped weights) classifies CIFAR-10 test images. Rounds are interleaved, so that all
see one machine; each ratio is the median over the rounds of a time over that of the plain network in the same
round.

1. 64x64 arrays, 2-bit cells, 6-bit ADC, whole inputs (no bit-serial DAC), with offset and with differential
coding;
2. the same, bit-serial;
3. whole weights on arrays of 48 rows, 6-bit ADC and output noise: what aihwkit-lightning 2.1 simulates, and
its time for it.
"""

from __future__ import annotations

import argparse
import copy
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from rankfold.cli.arguments.process import prepare_process
from rankfold.mapping import ArraySpec
from rankfold.models.pretrained import shipped
from rankfold.nn.quantised import QuantConv2d
from rankfold.plan import Plan
from rankfold.runs.evaluate import load_run
from rankfold.simulator import NonIdealities, simulate
from rankfold.training.batches import Batches
from rankfold.training.data import load_images

ROWS, RANGE, NOISE, BATCH = 48, 3.01, 0.05, 250
HIGH = 31  # codes of a 6-bit converter of signed sums: -31 to 31


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    prepare_process(options.threads)
    data = load_images(options.data)
    model, plan, _ = load_run(shipped("resnet20-cifar10-4bit").folder)
    device = torch.device("cpu")
    test = Batches(data.test.sample(options.images, 0), data.mean, data.std, BATCH, device)
    images = [x for x, _ in test.epoch()]

    def ours(array: ArraySpec, chosen: NonIdealities, mapping: str | None = None) -> nn.Module:
        calibration = data.calibration_batches(256, device)
        return simulate(model, _with(plan, array, mapping), chosen, calibration=calibration)

    converters = NonIdealities(adc_bits=6)
    noisy = NonIdealities(adc_bits=6, adc_range=RANGE, output_noise=NOISE)
    networks = {
        "plain quantised network": model,
        "64x64, 2-bit cells, 6-bit ADC, offset": ours(
            ArraySpec(64, 64, 2, "offset", converts="columns"), converters
        ),
        "the same, differential": ours(ArraySpec(64, 64, 2, converts="columns"), converters),
        "64x64, 2-bit cells, 6-bit ADC, differential, bit-serial": ours(
            ArraySpec(64, 64, 2, dac_bits=1, converts="columns"), converters
        ),
        "48x64, whole weights, 6-bit ADC, output noise": ours(ArraySpec(ROWS, 64), noisy, "im2col"),
    }
    for network in networks.values():
        _seconds(network, images)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    networks["the same in aihwkit-lightning"] = twin(model)
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(options.rounds):
        for name, network in networks.items():
            times[name].append(_seconds(network, images))
    plain = times["plain quantised network"]
    print(f"{options.images} images, {options.rounds} rounds, {torch.get_num_threads()} threads")
    for name, seconds in times.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, plain, strict=True))
        print(f"{name:58} {statistics.median(seconds):7.2f} s  {ratio:6.2f} x plain")
    print(f"largest memory of the process before aihwkit-lightning ran: {memory:.2f} GB")


def twin(model: nn.Module) -> nn.Module:
    """The network with aihwkit-lightning's convolutions: the same tiles, converters and noise."""
    from aihwkit_lightning.nn.modules.conv import AnalogConv2d
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig

    found = copy.deepcopy(model)
    for parent in list(found.modules()):
        for name, layer in list(parent._modules.items()):
            if isinstance(layer, QuantConv2d):
                config = TorchInferenceRPUConfig()
                config.mapping.max_input_size = ROWS
                ranges = config.pre_post.input_range
                ranges.enable, ranges.learn_input_range, ranges.init_from_data, ranges.decay = (
                    True,
                    False,
                    0,
                    0.0,
                )
                config.forward.out_bound, config.forward.out_res = RANGE, 2 * HIGH
                config.forward.out_noise = NOISE * (-(-layer.in_channels * 9 // ROWS)) ** 0.5
                plain = nn.Conv2d(
                    layer.in_channels, layer.out_channels, 3, layer.stride, layer.padding, bias=False
                )
                with torch.no_grad():
                    plain.weight.copy_(layer.weight_quantiser(layer.weight))
                analog = AnalogConv2d.from_digital(plain, config)
                quantiser = layer.input_quantiser
                analog.input_range.data.fill_(float(max(-quantiser.low, quantiser.high) * quantiser.scale))
                setattr(parent, name, nn.Sequential(quantiser, analog))
    found.eval()
    for module in found.modules():
        if isinstance(module, AnalogConv2d):
            module.training = True  # it adds noise in no other mode
    return found


def _with(plan: Plan, array: ArraySpec, mapping: str | None) -> Plan:
    if mapping is None:
        return replace(plan, array=array)
    return replace(plan, array=array, layers=tuple(replace(layer, mapping=mapping) for layer in plan.layers))


@torch.no_grad()
def _seconds(network: Callable[[Tensor], Tensor], images: list[Tensor]) -> float:
    start = time.perf_counter()
    for x in images:
        network(x)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
