"""The training loop: one epoch at a time, checkpointed after each, deterministic under a seed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankfold.errors import InputError
from rankfold.training.batches import EVALUATION_BATCH, Batches
from rankfold.training.checkpoint import Checkpoint
from rankfold.training.data import ImageData, ImageSplit
from rankfold.training.distillation import Teacher
from rankfold.training.recipe import Recipe
from rankfold.training.step_bounds import StepSizes


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did. `test_accuracy` is None where the epoch was not evaluated.

    `train_loss` is what was minimised. With a teacher, `label_loss` and `teacher_loss` are the two losses that it weighs.
    """

    epoch: int
    rate: float
    train_loss: float
    train_accuracy: float
    test_accuracy: float | None
    seconds: float
    images_per_second: float
    label_loss: float | None = None
    teacher_loss: float | None = None


class Watcher(Protocol):
    """Receives progress; the command line draws bars with it, a library user may ignore it."""

    def epoch_begins(self, epoch: int, epochs: int, images: int) -> None:
        """Epoch `epoch` (from 1) of `epochs` begins and will see `images` images."""

    def batch_done(self, images: int) -> None:
        """`images` more images are done."""

    def epoch_ends(self, record: EpochRecord) -> None:
        """The epoch is over and its checkpoint written."""


class Silent:
    """A watcher that shows nothing."""

    def epoch_begins(self, epoch: int, epochs: int, images: int) -> None:
        """Show nothing."""

    def batch_done(self, images: int) -> None:
        """Show nothing."""

    def epoch_ends(self, record: EpochRecord) -> None:
        """Show nothing."""


def choose_device(name: str = "auto") -> torch.device:
    """The torch device of that name; `auto` is the first GPU, else the CPU.

    Raises:
        InputError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device `{name}` is not available here; use auto, cpu, or cuda on a machine with a GPU") from error
    return device


def computes_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 natively, so that autocast pays.

    On a CPU that means AVX512-BF16 or AMX; without them bfloat16 is emulated and slower than float32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def resolve_precision(precision: str, device: torch.device) -> str:
    """`float32` or `bfloat16`: what `precision` (one of `recipe.PRECISIONS`) means on `device`."""
    if precision == "auto":
        return "bfloat16" if computes_bfloat16(device) else "float32"
    return precision


@contextmanager
def _deterministic() -> Iterator[None]:
    """Deterministic cuDNN kernels inside, the user's settings again outside."""
    backend = torch.backends.cudnn
    before = backend.deterministic, backend.benchmark
    backend.deterministic, backend.benchmark = True, False
    try:
        yield
    finally:
        backend.deterministic, backend.benchmark = before


def optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD over the trainable parameters of `model`, weight decay on those of two or more dimensions only."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=recipe.peak_rate, momentum=recipe.momentum, nesterov=True)


def train(
    model: nn.Module,
    data: ImageData,
    recipe: Recipe,
    device: torch.device,
    checkpoint: Checkpoint | None = None,
    watcher: Watcher | None = None,
    teacher: Teacher | None = None,
) -> tuple[EpochRecord, ...]:
    """Train `model` in place and return the record of every epoch.

    With a `checkpoint`, the full state is written after each epoch, and a state already there is taken up: the
    run then ends with the same numbers as one that was never interrupted. The test split is evaluated in about
    ten epochs and the last one; nothing is chosen by it. With a `teacher`, its outputs count beside the labels.

    Raises:
        InputError: the loss is no longer finite, or the checkpoint belongs to another run.
    """
    watcher = watcher or Silent()
    _place(model, device)
    batches = Batches(data.train, data.mean, data.std, recipe.batch_size, device, recipe.augment, recipe.seed, shuffle=True)
    if recipe.epochs == 0:
        return ()
    sgd = optimiser(model, recipe)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        sgd, recipe.peak_rate, total_steps=recipe.epochs * len(batches), pct_start=recipe.warmup,
        anneal_strategy="linear", cycle_momentum=False, div_factor=10, final_div_factor=1000,
    )  # fmt: skip
    state = checkpoint.load(device) if checkpoint else None
    history: list[EpochRecord] = []
    if state is not None:
        model.load_state_dict(state["model"])
        sgd.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        history = [EpochRecord(**record) for record in state["history"]]
    step_sizes = StepSizes(model)
    stepped: Callable[[Tensor], Tensor] = torch.compile(model) if recipe.compiled else model
    if teacher is not None:
        teacher.prepare_(device, recipe.compiled, resolve_precision(recipe.precision, device) == "bfloat16")
    every = max(1, recipe.epochs // 10)
    with _deterministic():
        for epoch in range(len(history), recipe.epochs):
            watcher.epoch_begins(epoch + 1, recipe.epochs, len(batches) * recipe.batch_size)
            model.train()
            rate = sgd.param_groups[0]["lr"]
            start = time.perf_counter()
            (loss, *parts), accuracy, images = _epoch(
                stepped, batches, epoch, recipe, device, sgd, schedule, step_sizes, watcher, teacher
            )
            seconds = time.perf_counter() - start
            last = epoch + 1 == recipe.epochs
            tested = evaluate(model, data.test, data, device) if last or (epoch + 1) % every == 0 else None
            record = EpochRecord(epoch + 1, rate, loss, accuracy, tested, seconds, images / seconds, *parts)
            history.append(record)
            if checkpoint:
                checkpoint.save(
                    {
                        "model": model.state_dict(),
                        "optimiser": sgd.state_dict(),
                        "schedule": schedule.state_dict(),
                        "history": [asdict(entry) for entry in history],
                    }
                )
            watcher.epoch_ends(record)
    return tuple(history)


def _epoch(
    model: Callable[[Tensor], Tensor],
    batches: Batches,
    epoch: int,
    recipe: Recipe,
    device: torch.device,
    sgd: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    step_sizes: StepSizes,
    watcher: Watcher,
    teacher: Teacher | None,
) -> tuple[list[float], float, int]:
    """One pass over the training split; returns the mean losses, accuracy and the number of images.

    The loss that is minimised comes first; with a teacher, those against the labels and against the teacher follow.
    """
    half = resolve_precision(recipe.precision, device) == "bfloat16"
    totals = torch.zeros(1 if teacher is None else 3, dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    images = 0
    for x, y in batches.epoch(epoch):
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            logits = model(x)
        hard = F.cross_entropy(logits.float(), y, label_smoothing=recipe.label_smoothing)
        losses = (hard,) if teacher is None else teacher.losses(x, logits.float(), hard)
        sgd.zero_grad(set_to_none=True)
        losses[0].backward()  # type: ignore[no-untyped-call]
        with step_sizes.bounded():
            sgd.step()
        schedule.step()
        totals += torch.stack(losses).detach().double() * len(y)
        correct += (logits.detach().argmax(1) == y).sum()
        images += len(y)
        watcher.batch_done(len(y))
    means = [total / images for total in totals.tolist()]
    if not means[0] < float("inf"):
        raise InputError(f"the loss became {means[0]} in epoch {epoch + 1}; use a lower peak rate than {recipe.peak_rate}")
    return means, correct.item() / images, images


def _place(model: nn.Module, device: torch.device) -> None:
    """Move `model` to `device`, weights channels last, the layout that convolutions are fastest in."""
    model.to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@torch.no_grad()
def evaluate(model: nn.Module, split: ImageSplit, data: ImageData, device: torch.device) -> float:
    """Top-1 accuracy in [0, 1] of `model` on `split`, in float32 and in a fixed batch size, so that it repeats exactly."""
    _place(model, device)
    was_training = model.training
    model.eval()
    correct = 0
    for x, y in Batches(split, data.mean, data.std, EVALUATION_BATCH, device).epoch():
        logits: Tensor = model(x)
        correct += int((logits.argmax(1) == y).sum())
    model.train(was_training)
    return correct / len(split)
