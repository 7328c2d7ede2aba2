"""`StaticTraining`: a training whose steps are static, and on a GPU one CUDA graph each."""

from __future__ import annotations

import time
from collections.abc import Generator
from itertools import chain

import torch
from torch import Tensor, nn

from rankfold.errors import InputError
from rankfold.progress import Progress
from rankfold.training.batches import RESIDENT_BYTES, Batches
from rankfold.training.captured import Captured
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.data import ImageData
from rankfold.training.distillation import Teacher
from rankfold.training.epochs import Training, Within
from rankfold.training.recipe import Recipe
from rankfold.training.resident import ResidentImages
from rankfold.training.source import TrainingData
from rankfold.training.static_sgd import StaticSGD
from rankfold.training.static_step import StaticStep
from rankfold.training.stretch import Stretch

_ON_HOST = torch.device("cpu")


def check_static(data: TrainingData) -> ImageData:
    """The data, if steps on them can be static.

    Raises:
        InputError: they are no decoded images, or more than a device keeps.
    """
    if not isinstance(data, ImageData):
        raise InputError(
            "captured steps read decoded images on the device; give images that are decoded beforehand "
            "(no streamed ones, no batches of your own), or train without captured steps"
        )
    if data.train.images.nbytes > RESIDENT_BYTES:
        raise InputError(
            f"the training images take {data.train.images.nbytes >> 20} MiB, and captured steps keep up to "
            f"{RESIDENT_BYTES >> 20} on the device; train without captured steps"
        )
    return data


class StaticTraining(Training):
    """As `Training`, with the same batches, rates, checkpoints and records, by static steps.

    The results are those of `Training` up to rounding, and either goes on from the other's checkpoints;
    networks that draw numbers (dropout) draw others.

    Args:
        model: on the device.
        data: decoded images.
        recipe: how it is trained.
        images: the training split, on the device.
        teacher: its outputs count beside the labels.
        progress: hears of each epoch as a part of its own, when its steps are sent to the device.
        every: after so many images of an epoch the state is written within it; None: not before its end.
        backend: of `torch.compile`, for passes of quantisers; None: they are not compiled.
    """

    def __init__(
        self,
        model: nn.Module,
        data: ImageData,
        recipe: Recipe,
        images: ResidentImages,
        *,
        teacher: Teacher | None,
        progress: Progress,
        every: int | None,
        backend: str | None = None,
    ) -> None:
        # For what they draw: the images of the batches are gathered on the device.
        batches = data.training_batches(recipe, _ON_HOST)
        assert isinstance(batches, Batches)  # those of images
        super().__init__(
            model,
            data,
            recipe,
            images.device,
            batches=batches,
            teacher=teacher,
            progress=progress,
            every=every,
        )
        self._drawn = batches
        self._images = images
        self._backend = backend
        self._stretch = Stretch(len(batches), recipe.batch_size, images.device)
        self._static: StaticStep | None = None
        self._captured = Captured(self._update, images.device, self._addresses)

    @property
    def stream(self) -> torch.cuda.Stream | None:
        """Which its work has to be done on; None: on a processor."""
        return self._captured.stream

    def close(self) -> None:
        """Give the memory of the recording back."""
        self._static = None
        self._captured = Captured(self._update, _ON_HOST)

    def _addresses(self) -> tuple[int, ...]:
        """Where parameters and buffers of the network lie."""
        return tuple(value.data_ptr() for value in chain(self._model.parameters(), self._model.buffers()))

    def _update(self) -> None:
        assert self._static is not None  # made before the first step
        self._static()

    def _made(self) -> StaticStep:
        """The step; the optimiser has its state by now."""
        # No gradient is there, and so nothing is done: schedules warn where their optimiser never steps.
        self._sgd.zero_grad(set_to_none=True)
        self._sgd.step()
        self._step_sizes.use_all_levels_()
        # Of labels alone one loss is summed; with a teacher the one to minimise, and the two that it weighs.
        kinds = 1 if self._teacher is None else 3
        return StaticStep(
            self._losses,
            images=self._images,
            stretch=self._stretch,
            sgd=StaticSGD(self._sgd),
            step_sizes=self._step_sizes,
            kinds=kinds,
            backend=self._backend,
        )

    def _steps(
        self, epoch: int, within: Within, checkpoint: Checkpoint | None
    ) -> Generator[None, None, Tensor]:
        """As `Training._steps`; it stands still when a step was sent, and the device may be far behind."""
        start = time.perf_counter() - within.seconds
        if self._static is None:
            self._static = self._made()
        sums = self._static.sums
        sums.copy_(within.sums)
        whole, batch = len(self._batches), self._recipe.batch_size
        due = self._batches_until_saved
        self._progress.advance(within.batches * batch)
        while within.batches < whole:
            # Up to the next state that is saved, which begins at whole multiples.
            count = min(due - within.batches % due, whole - within.batches)
            # Whoever evaluated or saved the network may have moved it.
            self._captured.forget_what_moved()
            self._stretch.fill_(self._drawn, epoch, within.batches, self._rates(count))
            for _ in range(count):
                self._captured()
                self._progress.advance(batch)
                yield
            # What saves and evaluates next looks at the steps again.
            self._step_sizes.set_freely_()
            within.batches += count
            if within.batches < whole:
                within.sums, within.seconds = sums.cpu(), time.perf_counter() - start
                if checkpoint is not None:
                    checkpoint.save(self.state(within))
        return sums

    def _rates(self, count: int) -> list[float]:
        """Learning rates of the next steps, with which the schedule goes on."""
        rates = []
        for _ in range(count):
            rates.append(float(self._sgd.param_groups[0]["lr"]))
            self._schedule.step()
        return rates
