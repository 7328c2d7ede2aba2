"""Whether compensated rounding has to know which windows reach beyond the plane.

Usage: python benchmarks/window_rounding.py --data path/to/cifar10 [--images 256]

Some layers of the shipped float ResNet-20 as windows that do not divide their plane, with shifted copies as
weights, on a grid of 4 bits up to 0.6 of the largest weight. They are rounded to the nearest level; by the
moments of all windows, as `--rounding compensated` does; or each output by those of windows that have it.
For each the relative error of the outputs that there are, over the windows that have them, on the training
images that the moments are of and on as many others (seeds 0 and 1, 256 images each).
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from shipped_network import shipped_resnet20
from torch import nn

from rankfold import load_images
from rankfold.calibration.layer_moments import patch_moments
from rankfold.calibration.moments import PatchMoments
from rankfold.calibration.windows import WindowView
from rankfold.lowrank.regression import RIDGE, with_ridge
from rankfold.lowrank.rounding import rounded
from rankfold.mapping.window_matrix import window_weight
from rankfold.surgery.window_weight import lost_share, output_moments
from rankfold.training.calibration import CalibrationImages

CASES = (
    ("layer1.0.conv1", (3, 3)),
    ("layer2.1.conv1", (3, 3)),
    ("layer3.0.conv2", (3, 3)),
    ("layer3.2.conv2", (3, 3)),
    ("layer3.1.conv1", (3, 1)),
    ("layer3.0.conv2", (5, 1)),
)
LEVELS, SPAN = 7, 0.6
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, data = shipped_resnet20(), load_images(options.data)
    print("| layer | windows | nearest | all windows | each output's own | the same on other images |")
    print("| --- | --- | --: | --: | --: | --- |")
    for name, window in CASES:
        conv = model.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)  # of ResNet-20
        reader = WindowView.of(conv, window).reader
        seen, others = (
            patch_moments(model, CalibrationImages(data, CPU, seed, options.images), {name: reader})
            for seed in (0, 1)
        )
        dense = conv.weight.detach().double().numpy()
        copies = window_weight(dense, conv.groups, conv.stride, conv.dilation, window)
        made = roundings(copies, seen[name].centred())
        own, other = (
            [f"{lost_share(copies, one, 1, output_moments(moments, len(copies), 1)):.1%}" for one in made]
            for moments in (seen[name].centred(), others[name].centred())
        )
        print(f"| {name} | {window[0]}x{window[1]} | {' | '.join(own)} | {', '.join(other)} |", flush=True)


def roundings(copies: np.ndarray, moments: PatchMoments) -> list[np.ndarray]:
    """The weights to the nearest level, by the moments of all windows, and by those of each output."""
    flat = copies.reshape(len(copies), -1)
    step = np.abs(flat).max() * SPAN / LEVELS

    def nearest(values: np.ndarray) -> np.ndarray:
        levels: np.ndarray = np.clip(np.round(values / step), -LEVELS - 1, LEVELS)
        return levels * step

    whole = rounded(flat, with_ridge(moments.second[0], RIDGE), nearest)
    apart = np.zeros_like(flat)
    for part in output_moments(moments, len(flat), 1):
        apart[part.outputs] = rounded(flat[part.outputs], with_ridge(part.second[0], RIDGE), nearest)
    return [one.reshape(copies.shape) for one in (nearest(flat), whole, apart)]


if __name__ == "__main__":
    main()
