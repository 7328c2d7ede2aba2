"""`train_together`: several networks trained at once on one device, by static steps, each on its stream."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass

import torch
from torch import nn

from rankfold.errors import InputError, RankfoldError, first_line
from rankfold.progress import Progress, Silent
from rankfold.training.captured import on_stream
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.data import ImageData
from rankfold.training.device import deterministic, place_, resolve_precision
from rankfold.training.distillation import Teacher
from rankfold.training.epoch_record import EpochRecord
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
        teacher: its outputs count beside the labels; networks of one precision may share it.
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
    those beside it but its time, unless it draws numbers (dropout): all draw from one generator in turn, and
    others than `train` does.

    Args:
        pupils: the networks.
        device: where.
        backend: of `torch.compile`, such as `inductor`, which compiles the passes of quantisers (`nn.fused`);
            None: they are not compiled.

    Returns:
        What became of each; a network whose training fails, or cannot begin for its data or its checkpoint,
        does not stop the others.
    """
    shared = _Shared(device)
    lanes = [_Lane(pupil, shared, backend) for pupil in pupils]
    with deterministic():
        try:
            for lane in lanes:
                lane.follow()
            waiting = list(lanes)
            while waiting:
                waiting = [lane for lane in waiting if lane.go_on()]
        finally:
            for lane in lanes:
                lane.close()
    return tuple(lane.trained for lane in lanes)


class _Shared:
    """What networks that are trained together have in common: images on the device, and teachers.

    Args:
        device: where.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._images: dict[int, ResidentImages] = {}
        self._modes: dict[int, tuple[str, bool]] = {}

    def images(self, data: ImageData) -> ResidentImages:
        """The training images, which are there once."""
        key = id(data.train)
        if key not in self._images:
            self._images[key] = ResidentImages(data, self.device)
        return self._images[key]

    def check_teacher(self, teacher: Teacher, recipe: Recipe) -> None:
        """Refuse a teacher that would have to see one pupil's images in another way than another's.

        Raises:
            InputError: it has a pupil of another precision, or of another `compiled`, already.
        """
        mode = resolve_precision(recipe.precision, self.device), recipe.compiled
        if self._modes.setdefault(id(teacher), mode) != mode:
            raise InputError(
                "one teacher has pupils of different precision, or of which some are compiled; give each of "
                "these a Teacher of its own"
            )


class _Lane:
    """A training among others, and the stream that it runs on."""

    def __init__(self, pupil: Pupil, shared: _Shared, backend: str | None) -> None:
        self.trained = Trained()
        self._training: StaticTraining | None = None
        self._work: Generator[None, None, None] | None = None
        self._device = shared.device
        self._backend = backend
        try:
            with _memory_in_words():
                self._begin(pupil, shared)
        except RankfoldError as error:
            self.trained = Trained(error=error)

    def _begin(self, pupil: Pupil, shared: _Shared) -> None:
        data = check_static(pupil.data)
        place_(pupil.model, self._device)
        # As with `train`: without epochs nothing is looked at.
        if pupil.recipe.epochs == 0:
            return
        if pupil.teacher is not None:
            shared.check_teacher(pupil.teacher, pupil.recipe)
        every = None
        if pupil.checkpoint is not None:
            every = pupil.checkpoint.images
        self._training = StaticTraining(
            pupil.model,
            data,
            pupil.recipe,
            shared.images(data),
            teacher=pupil.teacher,
            progress=pupil.progress or Silent(),
            every=every,
            backend=self._backend,
        )
        if pupil.teacher is not None:
            # Of no images: where the data are must not matter, and constants would hide what does.
            noise = torch.randn(2, *data.input_size, generator=torch.Generator().manual_seed(0))
            pupil.teacher.fold_(noise.to(self._device))
        self._training.take_up(pupil.checkpoint)
        self._work = self._training.work(pupil.checkpoint, pupil.stage)

    def follow(self) -> None:
        """Let the stream wait for all that was done up to here, for any lane, on that of the caller."""
        if self._training is not None and self._training.stream is not None:
            self._training.stream.wait_stream(torch.cuda.current_stream(self._device))

    def go_on(self) -> bool:
        """One step more; False where there is none."""
        if self._training is None or self._work is None or self.trained.error is not None:
            return False
        try:
            with _memory_in_words(), on_stream(self._training.stream):
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
        if self._work is not None:
            with on_stream(self._training.stream):
                self._work.close()
        if self._training.stream is not None:
            torch.cuda.synchronize(self._device)
        self._training.close()


@contextmanager
def _memory_in_words() -> Iterator[None]:
    """Turn what torch says of a device that is full into a sentence.

    Raises:
        InputError: the device has no memory left.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"the device has no memory left ({first_line(error)}); train fewer networks together, or in "
            "smaller batches"
        ) from error
