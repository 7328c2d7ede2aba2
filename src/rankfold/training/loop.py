"""The training loop: one epoch at a time, checkpointed after each, deterministic under a seed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from rankfold.progress import Progress, Silent
from rankfold.training.checkpoint import IMAGES, Checkpoint
from rankfold.training.device import deterministic, place_
from rankfold.training.distillation import Teacher
from rankfold.training.epoch_record import EpochRecord
from rankfold.training.epochs import Training
from rankfold.training.processes import ALONE, Processes
from rankfold.training.recipe import Recipe
from rankfold.training.source import TrainingData


def train(
    model: nn.Module,
    data: TrainingData,
    recipe: Recipe,
    device: torch.device,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
    teacher: Teacher | None = None,
    stage: str = "training",
    processes: Processes = ALONE,
    measure: Callable[[nn.Module], float] | None = None,
) -> tuple[EpochRecord, ...]:
    """Train `model` in place and return the record of every epoch.

    With a `checkpoint`, the full state is written after each epoch, and a state already there is taken up:
    the run then ends with the same numbers as one that was never interrupted. The test split is evaluated in
    about ten epochs and the last one; nothing is chosen by it.

    Args:
        model: the network.
        data: images, or batches of the user's (`training.loaders.LoaderData`).
        recipe: how it is trained.
        device: where.
        checkpoint: where the state of an interrupted run is kept.
        progress: hears of each epoch as a part of its own.
        teacher: its outputs count beside the labels.
        stage: what `progress` calls this training.
        processes: that train together, each called alike; only the first reads and writes the checkpoint.
        measure: what the network is tested by; None: its accuracy on the test split.

    Raises:
        InputError: training diverged, or the checkpoint belongs to another run.
        LostProcessError: another of the processes has ended.
    """
    place_(model, device)
    if recipe.epochs == 0:
        return ()
    if progress is None or not processes.is_first:
        progress = Silent()
    every = _images_until_saved(checkpoint, processes)
    if not processes.is_first:
        checkpoint = None
    training = Training(
        model,
        data,
        recipe,
        device,
        batches=data.training_batches(recipe, device, processes.share),
        teacher=teacher,
        progress=progress,
        processes=processes,
        every=every,
        measure=measure,
    )
    training.take_up(checkpoint)
    with deterministic():
        for _ in training.work(checkpoint, stage):
            pass
    return tuple(training.history)


def _images_until_saved(checkpoint: Checkpoint | None, processes: Processes) -> int | None:
    """After how many images of an epoch the state is written within it; None: not before its end."""
    own = checkpoint.images if checkpoint is not None else None
    if processes.alone:
        return own
    # They have to stop at the same batches, whatever checkpoints the others were given.
    told = processes.from_first(str(own or IMAGES).encode())
    assert told is not None  # the first has a number
    return int(told)
