"""Batches that the user makes: pairs of inputs and targets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rankfold.calibration.samples import inputs_of, size_of
from rankfold.errors import InputError
from rankfold.training.source import LabelledBatch


def pair_of(batch: Any, what: str, classes: int | None = None) -> LabelledBatch:
    """Inputs and target of a batch.

    Args:
        batch: as a user gives it.
        what: what the batch is for, in messages: a batch to `what`.
        classes: how many there are, where it is known.

    Raises:
        InputError: it has no target, or one that does not name the class of each sample.
    """
    is_pair = isinstance(batch, (tuple, list)) and len(batch) == 2
    if not is_pair or not isinstance(batch[1], Tensor):
        raise InputError(
            f"a batch to {what} on is a {type(batch).__name__}; give pairs (inputs, target), the target a "
            "tensor with the number of each sample's class"
        )
    inputs, target = inputs_of(batch), batch[1]
    is_whole = not (target.is_floating_point() or target.is_complex() or target.dtype == torch.bool)
    samples = size_of(inputs)
    if not is_whole or target.shape != (samples,) or samples == 0:
        shape = tuple(target.shape)
        raise InputError(
            f"a batch to {what} on has {samples} samples and a target of {shape} {target.dtype}; "
            "give the number of each sample's class, whole numbers (B,)"
        )
    lowest, highest = int(target.min()), int(target.max())
    if lowest < 0:
        raise InputError(f"a batch to {what} on has the class {lowest}; classes count from 0")
    if classes is not None and highest >= classes:
        raise InputError(f"a batch to {what} on has the class {highest}; there are {classes}, from 0")
    return inputs, target.long()


def targets_of(batch: Any) -> Any:
    """The targets of a batch that a metric is measured on, whatever they are.

    Raises:
        InputError: it is no pair.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise InputError(
            f"a batch to measure a metric on is a {type(batch).__name__}; give pairs (inputs, targets), the "
            "targets anything that the metric knows"
        )
    return batch[1]
