"""A written ONNX file against the torch network it was made of, image by image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rankfold.calibration.observation import evaluating
from rankfold.calibration.onnx import Runner
from rankfold.errors import InputError


@dataclass(frozen=True)
class OnnxCheck:
    """How a file and a network agree.

    Attributes:
        images: compared.
        same: of these, how many have the same top-1 class.
        correct: how many the file gets right; None without labels.
        correct_in_torch: how many the network gets right.
        largest: the largest absolute difference of a logit.
        size: the largest absolute logit, to measure it by.
    """

    images: int
    same: int
    correct: int | None
    correct_in_torch: int | None
    largest: float
    size: float


def compare_onnx(model: nn.Module, path: str | Path, batches: Iterable[tuple[Tensor, Tensor | None]]) -> OnnxCheck:
    """Run both on all batches of (images, labels or None); the network in eval mode, as it is.

    Raises:
        InputError: onnxruntime refuses the file, or there is no batch.
        MissingDependencyError: onnxruntime is not installed.
    """
    runner = Runner(path, torch.get_num_threads())
    images = same = right = right_in_torch = 0
    largest = size = 0.0
    labelled = True
    with evaluating(model):
        for x, y in batches:
            wanted = model(x).cpu().float().numpy()
            (found,) = runner({runner.inputs[0]: x.cpu().float().numpy()})
            images += len(wanted)
            same += int((wanted.argmax(1) == found.argmax(1)).sum())
            largest = max(largest, float(np.abs(wanted - found).max()))
            size = max(size, float(np.abs(wanted).max()))
            if y is None:
                labelled = False
            else:
                labels = y.cpu().numpy()
                right, right_in_torch = (
                    right + int((found.argmax(1) == labels).sum()),
                    right_in_torch + int((wanted.argmax(1) == labels).sum()),
                )
    if not images:
        raise InputError("there are no images to compare the file and the network on")
    return OnnxCheck(images, same, right if labelled else None, right_in_torch if labelled else None, largest, size)
