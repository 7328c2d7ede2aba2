"""Whether pairs of windows are better where errors of outputs count by their second-order importance.

Usage: python benchmarks/window_pair_importance.py --data path/to/cifar10 [--layers layer3.0.conv2 ...]
    [--images 1024] [--out results/windows/pair_importance.csv]

One layer at a time of the shipped float ResNet-20 becomes a pair of windows of 2x2 pixels and rank 64, as on
64x64 arrays, from some numbers of inputs, made on 512 training images: once as all outputs count alike, once
with inputs and factors for the importance. A row: layer, inputs, outputs, images, predicted loss (nats), how
far scores on other training images are from the dense network's (KL divergence, nats), the share of them that
are classified alike, commit, device. Nothing but the choice of the images is drawn (seeds 0 and 7).
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import replace
from pathlib import Path

import torch
from measured_rows import Rows, commit
from shipped_network import shipped_resnet20
from torch import Tensor, nn

from rankfold import load_images
from rankfold.calibration.network_sensitivities import network_sensitivities
from rankfold.calibration.sensitivity import LayerSensitivity, predicted_loss
from rankfold.mapping.window_matrix import window_weight
from rankfold.plan import LayerPlan, WindowLowRankLayer
from rankfold.runs.record import device_name
from rankfold.surgery.kinds.window_low_rank import PART
from rankfold.training.calibration import CalibrationImages

HEADER = ("layer", "inputs", "outputs", "images", "predicted", "divergence", "alike", "commit", "device")
WINDOW, RANK = (2, 2), 64
INPUTS = (128, 256, 512, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--layers", nargs="+", default=["layer3.0.conv2", "layer3.2.conv2"])
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--out", type=Path, default=Path("results/windows/pair_importance.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, device = shipped_resnet20(), torch.device("cpu")
    data = load_images(options.data)
    made_for = CalibrationImages(data, device, 0, 512)
    others = list(CalibrationImages(data, device, 7, options.images))
    wanted = scores(model, others)
    windows = {name: [WINDOW] for name in options.layers}
    found = network_sensitivities(model, made_for, options.layers, windows).windows
    rows = Rows(options.out, HEADER, keys=4)
    for name in options.layers:
        for inputs in INPUTS:
            for outputs in ("alike", "by importance"):
                known = found[name][WINDOW]
                layer = LayerPlan(name, WindowLowRankLayer(WINDOW, RANK, inputs), mapping="im2col")
                network, loss = with_pair(model, layer, known, weighed=outputs != "alike")
                seen = scores(network, others)
                divergence = (wanted.exp() * (wanted - seen)).sum(1).mean().item()
                alike = (wanted.argmax(1) == seen.argmax(1)).float().mean().item()
                key = [name, inputs or "all", outputs, len(wanted)]
                measured = [f"{loss:.5f}", f"{divergence:.5f}", f"{alike:.4f}"]
                rows.add([*key, *measured, commit(), device_name(device)])
                print(rows.rows[-1], flush=True)


def with_pair(
    model: nn.Module, layer: LayerPlan, known: LayerSensitivity, *, weighed: bool
) -> tuple[nn.Module, float]:
    """The network with one layer replaced, and the loss that is predicted for it."""
    network = copy.deepcopy(model)
    conv = network.get_submodule(layer.name)
    assert isinstance(conv, nn.Conv2d)  # of ResNet-20
    moments = known.weighed_moments
    if not weighed:
        moments = replace(moments, importance=None)
    before = conv.weight.detach().clone()
    made = PART.replace(layer, conv, moments.centred(), None).module
    PART.correct_(made, None, before, known.moments)
    network.set_submodule(layer.name, made)
    copies = window_weight(before.double().numpy(), conv.groups, conv.stride, conv.dilation, WINDOW)
    return network, predicted_loss(copies, made.weight.detach().double().numpy(), known)


@torch.no_grad()
def scores(model: nn.Module, batches: list[Tensor]) -> Tensor:
    """(B, classes) logarithms of the network's distributions."""
    return torch.cat([model(images) for images in batches]).log_softmax(1)


if __name__ == "__main__":
    main()
