"""`train_together`: several networks trained at once on one device, by static steps, each on its stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass

import torch
from torch import nn

from rankfold.errors import RankfoldError
from rankfold.progress import Progress, Silent
from rankfold.training.captured import on_stream
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.device import place_
from rankfold.training.distillation import Teacher
from rankfold.training.loop import EpochRecord, deterministic
from rankfold.training.recipe import Recipe
from rankfold.training.resident import ResidentImages
from rankfold.training.source import TrainingData
from rankfold.training.static_training import StaticTraining, check_static


@dataclass(frozen=True)
class Pupil:
    """A network that is trained beside others.

    Attributes:
        model: it is trained in place.
        data: decoded images; networks with the same share them on the device.
        recipe: how it is trained.
        checkpoint: where its state is kept.
        teacher: its outputs count beside the labels.
        progress: hears of each of its epochs; an exception that it raises ends all.
        stage: what `progress` calls this training.
    """

    model: nn.Module
    data: TrainingData
    recipe: Recipe
    _: KW_ONLY
    checkpoint: Checkpoint | None = None
    teacher: Teacher | None = None
    progress: Progress | None = None
    stage: str = "training"


@dataclass(frozen=True)
class Trained:
    """What became of a pupil: its epochs, or the error that ended its training."""

    history: tuple[EpochRecord, ...] = ()
    error: RankfoldError | None = None


def train_together(
    pupils: Sequence[Pupil], device: torch.device, backend: str | None = None
) -> tuple[Trained, ...]:
    """Train several networks in place, a step of each in turn; a network alone does as well.

    What `train` does with each, up to rounding: the same batches, rates and records, the same checkpoints,
    which either takes up from the other. On a GPU each step is one CUDA graph (`training.captured`) on a
    stream of the network's own, so that small networks share the device. Nothing of a network depends on
    those beside it but its time.

    Args:
        pupils: the networks.
        device: where.
        backend: of `torch.compile`, such as `inductor`, which compiles the passes of quantisers (`nn.fused`);
            None: they are not compiled.

    Returns:
        What became of each; a network whose training fails, or cannot begin for its data or its checkpoint,
        does not stop the others.
    """
    held: dict[int, ResidentImages] = {}
    lanes = [_Lane(pupil, device, held, backend) for pupil in pupils]
    with deterministic():
        try:
            waiting = list(lanes)
            while waiting:
                waiting = [lane for lane in waiting if lane.go_on()]
        finally:
            for lane in lanes:
                lane.close()
    return tuple(lane.trained for lane in lanes)


class _Lane:
    """A training among others, and the stream that it runs on."""

    def __init__(
        self, pupil: Pupil, device: torch.device, held: dict[int, ResidentImages], backend: str | None
    ) -> None:
        self.trained = Trained()
        self._training: StaticTraining | None = None
        self._work: Iterator[None] = iter(())
        self._device = device
        self._backend = backend
        try:
            self._begin(pupil, device, held)
        except RankfoldError as error:
            self.trained = Trained(error=error)
            self._work = iter(())

    def _begin(self, pupil: Pupil, device: torch.device, held: dict[int, ResidentImages]) -> None:
        data = check_static(pupil.data)
        place_(pupil.model, device)
        # As with `train`: without epochs nothing is looked at.
        if pupil.recipe.epochs == 0:
            return
        key = id(data.train)
        if key not in held:
            held[key] = ResidentImages(data, device)
        self._training = StaticTraining(
            pupil.model,
            data,
            pupil.recipe,
            held[key],
            teacher=pupil.teacher,
            progress=pupil.progress or Silent(),
            every=None if pupil.checkpoint is None else pupil.checkpoint.images,
            backend=self._backend,
        )
        self._training.take_up(pupil.checkpoint)
        if self._training.stream is not None:
            # All that was done up to here is on the stream of the caller.
            self._training.stream.wait_stream(torch.cuda.current_stream(device))
        self._work = self._training.work(pupil.checkpoint, pupil.stage)

    def go_on(self) -> bool:
        """One step more; False where there is none."""
        if self._training is None or self.trained.error is not None:
            return False
        try:
            with on_stream(self._training.stream):
                next(self._work)
            return True
        except StopIteration:
            self.trained = Trained(tuple(self._training.history))
        except RankfoldError as error:
            self.trained = Trained(tuple(self._training.history), error)
        return False

    def close(self) -> None:
        """End the work where it is, and let the stream of the caller wait for it."""
        if self._training is None:
            return
        with on_stream(self._training.stream):
            close = getattr(self._work, "close", None)
            if close is not None:
                close()
        if self._training.stream is not None:
            torch.cuda.synchronize(self._device)
        self._training.close()
