"""The accuracy of a network on labelled batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from rankfold.arguments import shown
from rankfold.calibration.observation import evaluating
from rankfold.calibration.samples import call
from rankfold.errors import InputError
from rankfold.models.device import device_of
from rankfold.training.data import ImageData, ImageSplit
from rankfold.training.device import place_
from rankfold.training.processes import ALONE, Processes
from rankfold.training.source import LabelledBatch, TrainingData


def accuracy_on_split(model: nn.Module, split: ImageSplit, data: ImageData, device: torch.device) -> float:
    """Top-1 accuracy in [0, 1] of `model` on `split`.

    In float32 and in a fixed batch size, so that it repeats exactly.
    """
    place_(model, device)
    return accuracy(model, data.batches_of(split, device))


def accuracy_on_tests(
    model: nn.Module, data: TrainingData, device: torch.device, processes: Processes = ALONE
) -> float:
    """Top-1 accuracy in [0, 1] of `model` on the samples of `data` to test on, in turn by each process."""
    place_(model, device)
    return accuracy(model, data.test_batches(device, processes.share), processes)


def scores(outputs: Any, target: Tensor) -> Tensor:
    """What a network gave for a batch, (B, classes), if these are scores of the samples in `target`, (B,).

    Raises:
        InputError: they are not.
    """
    samples = len(target)
    if not isinstance(outputs, Tensor):
        raise InputError(f"the network gives {shown(outputs)}; accuracy needs scores (B, classes): wrap it")
    if outputs.ndim != 2 or len(outputs) != samples:
        raise InputError(
            f"the network gives {tuple(outputs.shape)} for {samples} samples; accuracy needs (B, classes)"
        )
    return outputs


def _check_classes(highest: int, classes: int) -> None:
    """Refuse data that know more classes than the network.

    Raises:
        InputError: the data's highest class is none of the network's.
    """
    if highest >= classes:
        raise InputError(
            f"the data has the class {highest}, and the network {classes} classes, from 0; give data with "
            "its classes"
        )


def accuracy(model: nn.Module, batches: Iterable[LabelledBatch], processes: Processes = ALONE) -> float:
    """Top-1 accuracy in [0, 1] of `model` on batches that are on its device, and on those of all processes.

    Raises:
        InputError: there is no batch, or the network's scores are no numbers.
    """
    samples, classes = 0, 0
    # Kept where they are computed: a device that is asked for each batch's stands still meanwhile.
    right: list[Tensor] = []
    highest: list[Tensor] = []
    no_numbers: list[Tensor] = []
    with evaluating(model):
        for number, (x, y) in enumerate(batches, 1):
            what = f"batch {number} of the data, inputs"
            logits = scores(call(model, x, what), y)  # (B, classes)
            right.append((logits.argmax(1) == y).sum())
            highest.append(y.max())
            no_numbers.append(logits.isnan().any())
            samples, classes = samples + len(y), logits.shape[1]
    correct, damaged = 0, 0
    if samples:
        _check_classes(int(torch.stack(highest).max()), classes)
        correct = int(torch.stack(right).sum())
        damaged = int(torch.stack(no_numbers).sum())
    # Together before anybody complains: the others would wait for a process that does.
    if not processes.alone:
        sums = torch.tensor([correct, samples, damaged], device=device_of(model))
        correct, samples, damaged = processes.sum_(sums).tolist()
    if damaged:
        raise InputError(
            "the network gives scores that are no numbers (NaN) for the data; its weights, or the data, may "
            "be damaged"
        )
    if samples == 0:
        raise InputError("there is no batch to evaluate on; give pairs (inputs, target)")
    return correct / samples
