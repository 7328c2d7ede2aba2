"""`Training`: a training under way, epoch by epoch, step by step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from rankfold.calibration.samples import Inputs, call
from rankfold.errors import InputError
from rankfold.progress import Progress
from rankfold.training.accuracy import accuracy_on_tests
from rankfold.training.checkpoint import Checkpoint, unpacked
from rankfold.training.device import resolve_precision
from rankfold.training.distillation import Teacher
from rankfold.training.epoch_record import EpochRecord
from rankfold.training.epoch_sums import added, right_of
from rankfold.training.half import bfloat16_steps
from rankfold.training.optimiser import optimiser
from rankfold.training.processes import ALONE, Processes, none_lost
from rankfold.training.recipe import Recipe
from rankfold.training.source import TrainingBatches, TrainingData
from rankfold.training.step_bounds import StepSizes
from rankfold.training.synchronised import synchronised_norms

LONGEST_GRADIENT = 1.0  # of all parameters together, where a teacher teaches without labels


@dataclass
class Within:
    """How far an epoch is that is not done.

    Attributes:
        rate: of its first step.
        batches: that are done.
        seconds: that they took.
        sums: of losses, right images and images so far, in float64, in all processes when it is saved.
    """

    rate: float
    batches: int = 0
    seconds: float = 0.0
    sums: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))


class Training:
    """A training under way: the network, and all that changes with it from step to step.

    Args:
        model: on the device.
        data: what it is trained and tested on.
        recipe: how it is trained.
        device: where.
        batches: of the training split, by the recipe.
        teacher: its outputs count beside the labels.
        progress: hears of each epoch as a part of its own.
        every: after so many images of an epoch the state is written within it; None: not before its end.
        processes: that train together.
        measure: what the network is tested by; None: its accuracy on the test split.

    Attributes:
        history: the epochs that are done.
        images_an_epoch: how many one of them sees.
    """

    def __init__(
        self,
        model: nn.Module,
        data: TrainingData,
        recipe: Recipe,
        device: torch.device,
        *,
        batches: TrainingBatches,
        teacher: Teacher | None,
        progress: Progress,
        every: int | None,
        processes: Processes = ALONE,
        measure: Callable[[nn.Module], float] | None = None,
    ) -> None:
        self._model = model
        self._measure = measure
        self._data = data
        self._recipe = recipe
        self._device = device
        self._teacher = teacher
        self._progress = progress
        self._processes = processes
        self._batches = batches
        self._half = resolve_precision(recipe.precision, device) == "bfloat16"
        self._sgd = optimiser(model, recipe)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._sgd,
            recipe.peak_rate,
            total_steps=recipe.epochs * len(self._batches),
            pct_start=recipe.warmup,
            anneal_strategy="linear",
            cycle_momentum=False,
            div_factor=10,
            final_div_factor=1000,
        )
        self._step_sizes = StepSizes(model)
        self._forward = model
        if recipe.compiled:
            self._forward = torch.compile(model)  # type: ignore[assignment]  # a module again, of a module
        self._forward = processes.prepared(self._forward)
        if teacher is not None:
            teacher.prepare_(device, recipe.compiled, self._half)
        # A network may hold constants that are infinite by design, such as masks.
        self._infinite_from_the_start = frozenset(_not_finite(model))
        self._within: Within | None = None
        self._every = every
        self.history: list[EpochRecord] = []
        self.images_an_epoch = self._batches.images

    def take_up(self, checkpoint: Checkpoint | None) -> None:
        """Go on from the state that the checkpoint of the first process holds, if there is one."""
        content = None
        if checkpoint is not None:
            content = checkpoint.read()
        if checkpoint is not None and content is not None:
            state = checkpoint.parse(content, self._device)
        content = self._processes.from_first(content)
        if content is None:
            return
        if checkpoint is None:
            state = unpacked(content, self._device)
        self._model.load_state_dict(state["model"])
        self._sgd.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self.history.clear()
        for record in state["history"]:
            self.history.append(EpochRecord(**record))
        # States of older versions are of whole epochs alone.
        if state.get("within") is not None:
            self._within = Within(**state["within"])
            if not self._processes.is_first:
                self._within.sums.zero_()  # the first process has those of all

    def state(self, within: Within | None = None) -> dict[str, Any]:
        """All that `take_up` needs; `within` says how far an epoch is that is not done."""
        return {
            "model": self._model.state_dict(),
            "optimiser": self._sgd.state_dict(),
            "schedule": self._schedule.state_dict(),
            "history": [asdict(record) for record in self.history],
            "within": within and vars(within),
        }

    def work(
        self, checkpoint: Checkpoint | None = None, stage: str = "training"
    ) -> Generator[None, None, None]:
        """Train to the end, from the first epoch that is not done; it stands still after each step.

        Args:
            checkpoint: where the state is kept.
            stage: what the progress calls this training.

        Raises:
            InputError: training diverged.
        """
        # Batches and augmentation depend on the number of an epoch alone.
        for epoch in range(len(self.history), self._recipe.epochs):
            self._progress.begin(f"{stage} {epoch + 1}/{self._recipe.epochs}", self.images_an_epoch)
            summary = ""
            try:
                record = yield from self._epoch(epoch, checkpoint)
                if checkpoint is not None:
                    checkpoint.save(self.state())
                summary = record.in_words(stage, self._recipe.epochs)
            finally:
                self._progress.end(summary)

    def _epoch(self, epoch: int, checkpoint: Checkpoint | None) -> Generator[None, None, EpochRecord]:
        """Train for one epoch (from 0), evaluate where it is due, and note in the history what came of it."""
        self._model.train()
        if self._taught_alone:
            _keep_statistics_(self._model)
        within = self._within or Within(self._sgd.param_groups[0]["lr"])
        # An epoch that was taken up in its middle ends as one that was not; the next begins anew.
        self._within = None
        rate, before = within.rate, within.seconds
        start = time.perf_counter()
        sums = yield from self._steps(epoch, within, checkpoint)
        losses, accuracy, images = self._means(sums, epoch)
        seconds = before + time.perf_counter() - start
        self._check_weights(epoch)
        train_accuracy = None if math.isnan(accuracy) else accuracy
        record = EpochRecord(
            epoch + 1,
            rate,
            losses[0],
            train_accuracy,
            self._tested(epoch),
            seconds,
            images_per_second=images / seconds,
        )
        # Of a teacher alone there is one loss.
        if len(losses) > 1:
            _, label_loss, teacher_loss = losses
            record = replace(record, label_loss=label_loss, teacher_loss=teacher_loss)
        self.history.append(record)
        return record

    @property
    def _taught_alone(self) -> bool:
        """Whether a teacher teaches without labels."""
        return self._teacher is not None and not self._teacher.distillation.labels

    @property
    def _batches_until_saved(self) -> int:
        """After how many batches of an epoch the state is written within it."""
        # In another order, samples of the rest of an epoch would have been seen already, or never be.
        if self._every is None or not self._batches.is_repeatable:
            return len(self._batches)
        return max(1, self._every * len(self._batches) // self.images_an_epoch)

    def _tested(self, epoch: int) -> float | None:
        """Accuracy on the test split in every tenth part of the epochs and in the last one, else None."""
        epochs = self._recipe.epochs
        every = max(1, epochs // 10)
        done = epoch + 1
        if done != epochs and done % every:
            return None
        if self._measure is not None:
            return self._measure(self._model)
        return accuracy_on_tests(self._model, self._data, self._device, self._processes)

    def _steps(
        self, epoch: int, within: Within, checkpoint: Checkpoint | None
    ) -> Generator[None, None, Tensor]:
        """The rest of a pass over the training split, which stands still after each step.

        Returns:
            Sums of losses, right images and images over the whole pass, as this process has them, float64.
        """
        start = time.perf_counter() - within.seconds
        # Sums stay on the device until the end: to read one after each step would make a GPU wait.
        sums = within.sums.to(self._device)
        due = self._batches_until_saved
        self._progress.advance(within.batches * self.images_an_epoch // len(self._batches))
        for x, y in self._batches.epoch(epoch, within.batches):
            sums = sums + self._step(x, y)
            within.batches += 1
            self._progress.advance(len(y) * self._processes.share.of)
            yield
            if within.batches % due == 0 and within.batches < len(self._batches):
                within.sums, within.seconds = self._processes.sum_(sums).cpu(), time.perf_counter() - start
                if checkpoint is not None:
                    checkpoint.save(self.state(within))
                if not self._processes.is_first:
                    sums = torch.zeros_like(sums)
        return sums

    def _means(self, sums: Tensor, epoch: int) -> tuple[list[float], float, int]:
        """The mean losses, accuracy and images of a pass, of its sums.

        The loss that is minimised comes first; with a teacher, those against the labels and against the
        teacher follow.
        """
        # Those of all processes: whoever finds out that training diverged finds out in all of them.
        *totals, right, images = self._processes.sum_(sums).tolist()
        means = [total / images for total in totals]
        if not means[0] < math.inf:  # NaN compares as false
            raise InputError(
                f"the loss became {means[0]} in epoch {epoch + 1}; use a lower peak rate than "
                f"{self._recipe.peak_rate}"
            )
        return means, right / images, int(images)

    def _step(self, x: Inputs, y: Tensor) -> Tensor:
        """One update by a batch; what it adds to the sums of an epoch."""
        losses, right = self._lesson(x, y)
        self._sgd.zero_grad(set_to_none=True)
        with none_lost():
            self._shared(losses[0], len(y)).backward()  # type: ignore[no-untyped-call]
        if self._taught_alone:
            # Losses of outputs of any sort have gradients of any size.
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), LONGEST_GRADIENT)
        with self._step_sizes.bounded():
            self._sgd.step()
        self._schedule.step()
        return added(losses, right, len(y))

    def _lesson(self, x: Inputs, y: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The losses of a batch, that to minimise first, and for how many samples the network is right."""
        if self._teacher is None or not self._taught_alone:
            losses, logits = self._losses(x, y)
            return losses, right_of(logits, y)
        with bfloat16_steps(self._device, self._half), synchronised_norms(self._processes):
            given = call(self._forward, x)
        loss, right = self._teacher.lesson(x, given)
        return (loss,), right

    def _losses(self, x: Inputs, y: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The losses of a batch, that to minimise first, with a teacher three; its logits (B, classes)."""
        # The loss stays outside: bfloat16 has three digits, too few for a logarithm of probabilities.
        with bfloat16_steps(self._device, self._half), synchronised_norms(self._processes):
            logits: Tensor = call(self._forward, x)
        label_loss = F.cross_entropy(logits.float(), y, label_smoothing=self._recipe.label_smoothing)
        if self._teacher is None:
            return (label_loss,), logits
        # Each loss has a cast of its own, so that its gradient is rounded alone: to cast once would
        # change the last bits of every run that has a record.
        return self._teacher.losses(x, logits.float(), label_loss), logits

    def _shared(self, loss: Tensor, samples: int) -> Tensor:
        """The loss whose mean over the processes is that of the whole batch, of which this has `samples`."""
        # Shares differ by a sample where the batch cannot be divided. The number stays on the device.
        if self._processes.alone:
            return loss
        every = self._processes.sum_(loss.new_full((), samples))
        return loss * (samples * self._processes.share.of / every)

    def _check_weights(self, epoch: int) -> None:
        """Refuse weights that the last step ruined: the losses tell only of the weights before each step."""
        for name in _not_finite(self._model):
            if name not in self._infinite_from_the_start:
                remedy = f"use a lower peak rate than {self._recipe.peak_rate}"
                # Its three digits may be too few where all else is right.
                if self._half:
                    remedy += ", or precision float32"
                raise InputError(f"training diverged: {name} is not finite after epoch {epoch + 1}; {remedy}")


def _keep_statistics_(model: nn.Module) -> None:
    """Let batch norms use the statistics that they have, and keep them, in a network in training mode.

    Few images, seen in few steps, tell worse ones than calibration and reconstruction were done with.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.training = False


@torch.no_grad()
def _not_finite(model: nn.Module) -> list[str]:
    """Names of the parameters and buffers that hold an infinite number or none."""
    names: list[str] = []
    flags: list[Tensor] = []
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, value in tensors:
        if value.is_floating_point():
            names.append(name)
            flags.append(value.isfinite().all())
    if not names:
        return []
    # All flags at once: to read each of them would make a GPU wait.
    finite = torch.stack(flags).tolist()
    return [name for name, good in zip(names, finite, strict=True) if not good]
